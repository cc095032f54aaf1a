"""The training loop: one candidate, in-memory images, one result an epoch.

Augmentation runs on whole uint8 batches on the training device (`cifar.loader`), with random choices of its own for
each image. The network runs in bfloat16 where the hardware has it, and in channels_last memory format. An epoch's data
order, augmentation and dropout derive from the seed and the epoch's number alone, so a run that is saved after an epoch
and continued elsewhere ends in the same weights as one that ran through.
"""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cifar.augmentation.mixing import mix
from cifar.candidate import Candidate
from cifar.compilation import Compilation, Effort, effort_worth, make_quicker
from cifar.data.splits import TrainingSplit
from cifar.errors import Diverged
from cifar.loader import Loader
from cifar.lookahead import Lookahead
from cifar.networks.registry import InitializedFromData, build_to_train
from cifar.normalization import normalization_for, normalize
from cifar.optim import Ema, build_optimizer, lr_factor, set_lr
from cifar.passes import Batch, Pass, losses_of, plain_pass
from cifar.prediction import predict_probabilities
from cifar.recipe import Monitor
from cifar.resizing import require_any_size, resized, training_side
from cifar.runtime.device import Device
from cifar.runtime.seeds import derive_seed

INITIALIZING_PIXELS = 5000 * 32 * 32  # of the first training images, for `initialize_from`: those of airbench94.py


@dataclass(frozen=True)
class EpochResult:
    """What one epoch gave."""

    epoch: int
    """Epochs done, from 1."""
    train_loss: float
    """Mean loss over the epoch's augmented images, label smoothing and mixing included."""
    train_accuracy: float
    """Share in [0, 1] of the epoch's augmented images that were right before their step."""
    val_loss: float | None
    """Mean cross entropy on the validation images; None without them."""
    val_accuracy: float | None
    """Share in [0, 1] of right validation images; None without them."""
    lr: float
    """Learning rate of the epoch's last step."""
    images: int
    """Training images of the epoch."""
    seconds: float
    """Wall-clock time, validation included."""


def monitored(monitor: Monitor, val_loss: float, val_accuracy: float) -> float:
    """What the best epoch has most of: NaN, which is neither more nor less than a number, counts as the least."""
    value = val_accuracy if monitor == "val_accuracy" else -val_loss
    return -math.inf if math.isnan(value) else value


class Training:
    """One run of one candidate.

    Args:
        candidate: network and recipe; the network's classes and image size must be those of the data.
        split: training images, and validation images that may be none.
        device: where to train.
        epochs: length of this run in passes over `split.train`; the recipe's schedule is stretched to it, unless
            the recipe is one of early stopping.
        seed: of weights, data order, augmentation and dropout.
        load_pretrained: whether a network gets the weights that it starts from, pretrained ones or ones that are
            computed from the training images; a run that `load_state_dict` will continue needs none.
    """

    def __init__(
        self,
        candidate: Candidate,
        split: TrainingSplit,
        *,
        device: Device,
        epochs: float,
        seed: int,
        load_pretrained: bool = True,
    ) -> None:
        self.recipe, self.device, self.seed = candidate.recipe, device, seed
        self.peak_lr = candidate.recipe.optimizer.peak_lr
        where = device.torch_device
        device.prepare_to_train()
        train = split.train.to(where)
        self.images, self.labels = train.images, train.labels  # uint8 (N, 3, H, W), int64 (N,)
        self.val_images, self.val_labels = split.val.images.to(where), split.val.labels.cpu()
        self.class_names = split.class_names
        self.normalization = normalization_for(self.recipe, split.train)
        self.fill = self.normalization.mean_colour  # of cutout's square
        self.loader = Loader(train, self.recipe, self.normalization, seed=seed)
        self.batch_size, self.steps_an_epoch = self.loader.batch_size, self.loader.batches_a_pass
        self.total_steps = max(1, round(epochs * self.steps_an_epoch))
        with device.forked_generators():
            torch.manual_seed(derive_seed(seed, "weights"))
            network = build_to_train(candidate.network) if load_pretrained else candidate.network.build()
        if load_pretrained and isinstance(network, InitializedFromData):
            network.initialize_from(self._first_images(split.train.images))
        self.network = network.to(where).to(memory_format=torch.channels_last)
        self.side = split.train.images.shape[-1]  # of the images, in pixels
        if self.recipe.resolution_start < 1:
            require_any_size(self.network, self.recipe, self.side)
        self.optimizer = build_optimizer(self.network, self.recipe.optimizer)
        self.scaler = torch.amp.GradScaler(where.type, enabled=device.needs_loss_scaling)
        self.losses = losses_of(self.network, device, self.recipe.label_smoothing)
        self.plain_pass = plain_pass(self.losses, self.scaler)
        self.quicker_pass: Pass | None = None  # for images of full size; `compile` makes it
        self.ema = Ema(self.network, self.recipe.ema_decay) if self.recipe.ema_decay else None
        every, decay = self.recipe.lookahead_steps, self.recipe.lookahead_decay
        self.lookahead = Lookahead(self.network, every, decay) if every else None
        self.progress = 0.0  # share of the schedule that is done before the step at hand
        self.epoch = 0
        self.best: tuple[float, int, dict[str, Tensor]] | None = None  # monitor (higher is better), epoch, weights
        self.val_right: Tensor | None = None  # bool (N,): which validation images were right after the last epoch

    def _first_images(self, images: Tensor) -> Tensor:
        """The first training images, which hold each class in its share, normalised: float (N, 3, H, W)."""
        return normalize(images[: max(1, INITIALIZING_PIXELS // images[0, 0].numel())], self.normalization)

    @property
    def total_epochs(self) -> int:
        """Epochs of the whole run; the last may be a partial one."""
        return math.ceil(self.total_steps / self.steps_an_epoch)

    @property
    def length(self) -> float:
        """Length of the whole run in passes over the training images."""
        return self.total_steps / self.steps_an_epoch

    def set_length(self, epochs: float) -> None:
        """Makes the run longer or shorter than planned, though not shorter than it is; its schedule is stretched.

        Args:
            epochs: length of the whole run in passes over the training images.
        """
        done = min(self.epoch * self.steps_an_epoch, self.total_steps)
        self.total_steps = max(1, done, round(epochs * self.steps_an_epoch))

    @property
    def evaluated(self) -> nn.Module:
        """The network whose weights count: the moving average where there is one."""
        return self.ema.network if self.ema else self.network

    def run(self) -> Iterator[EpochResult]:
        """Trains epoch by epoch; the caller may stop, save or look after each.

        Raises:
            Diverged: the loss became NaN or infinite.
        """
        while self.epoch < self.total_epochs and not self._stopped_early():
            started = time.perf_counter()
            with self.device.forked_generators():
                loss, accuracy, images = self._train_epoch()
            self.epoch += 1
            val_loss, val_accuracy = self._validate()
            self._remember_best(val_loss, val_accuracy)
            lr = self.optimizer.param_groups[0]["lr"]
            seconds = time.perf_counter() - started
            yield EpochResult(self.epoch, loss, accuracy, val_loss, val_accuracy, lr, images, seconds)

    def _train_epoch(self) -> tuple[float, float, int]:
        """Mean loss, accuracy in [0, 1] and number of images of one pass."""
        torch.manual_seed(derive_seed(self.seed, "dropout", self.epoch))
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "epoch", self.epoch))
        totals = torch.zeros(2, device=self.images.device)  # loss, right images
        self.network.train()
        first = self.epoch * self.steps_an_epoch
        last = min(first + self.steps_an_epoch, self.total_steps)
        one_step = self._progress(1)
        for step, (images, labels) in zip(range(first, last), self.loader.batches(generator, self.epoch), strict=False):
            self.progress = self._progress(step)
            set_lr(self.optimizer, self.peak_lr, lr_factor(self.recipe, self.progress, one_step))
            images = resized(images, training_side(self.recipe, self.side, self.progress))
            totals += self.step(images, labels, generator)
            if self.images.device.type == "cpu":  # elsewhere looking would stall the device: once an epoch, below
                self._require_finite(totals, step)
        if self.lookahead:
            self.lookahead.look_back(self.progress)
        self._require_finite(totals, last)
        loss, right = (totals / ((last - first) * self.batch_size)).tolist()
        return loss, right, (last - first) * self.batch_size

    def _progress(self, step: int) -> float:
        """How far the schedule is at a step, in [0, 1]; see `cifar.recipe` for what is stretched."""
        if self.recipe.early_stopping:
            return min(1.0, step / (self.recipe.epochs * self.steps_an_epoch))
        return step / self.total_steps

    def step(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """One optimizer step; the batch's summed loss and right images, (2,) on the device, good until the next."""
        targets: Tensor = labels
        if self.recipe.augmentation.mixes:
            one_hot = F.one_hot(labels, len(self.class_names)).float()  # (B, C)
            images, targets = mix(images, one_hot, self.recipe.augmentation, generator)
        totals = self._pass_for(images)(images, targets, labels)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.lookahead:
            self.lookahead.step(self.progress)
        if self.ema:
            self.ema.update()
        return totals

    def _pass_for(self, images: Tensor) -> Pass:
        full_size = images.shape[-1] == self.side
        return self.quicker_pass if self.quicker_pass and full_size else self.plain_pass

    def _require_finite(self, totals: Tensor, step: int) -> None:
        if not math.isfinite(totals[0].item()):
            raise Diverged(f"the training loss became NaN or infinite near step {step} of {self.total_steps}")

    def _validate(self) -> tuple[float | None, float | None]:
        if not len(self.val_labels):
            return None, None
        probabilities = predict_probabilities(
            self.evaluated,
            self.val_images,
            self.normalization,
            device=self.device.torch_device,
            autocast=self.device.autocast,
        )  # (N, C) on the CPU
        loss = F.nll_loss(probabilities.clamp_min(1e-12).log(), self.val_labels)
        self.val_right = probabilities.argmax(1) == self.val_labels
        return loss.item(), self.val_right.float().mean().item()

    def _remember_best(self, val_loss: float | None, val_accuracy: float | None) -> None:
        watching = self.recipe.keep == "best" or self.recipe.early_stopping
        if not watching or val_loss is None or val_accuracy is None:
            return
        value = monitored(self.recipe.monitor, val_loss, val_accuracy)
        if self.best is None or value > self.best[0]:
            self.best = (value, self.epoch, copy.deepcopy(self.evaluated.state_dict()))

    def _stopped_early(self) -> bool:
        patience = self.recipe.early_stopping
        return bool(patience and self.best and self.epoch - self.best[1] >= patience)

    def steps(self, lrs: Iterable[float]) -> Iterator[Tensor]:
        """Trains one step at each of these learning rates, whatever the schedule.

        Yields each batch's mean loss, a scalar on the device: reading it waits for the step.

        Passes follow one another as the steps need them; no epoch is counted. Seeds torch's
        global generator: fork it around all the steps.
        """
        torch.manual_seed(derive_seed(self.seed, "dropout", "steps"))
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "steps"))
        batches = itertools.chain.from_iterable(self.loader.batches(generator, epoch) for epoch in itertools.count())
        self.network.train()
        for lr, (images, labels) in zip(lrs, batches, strict=False):
            set_lr(self.optimizer, lr, 1.0)
            yield self.step(images, labels, generator)[0] / len(labels)

    def compile(self, effort: Effort = "compile") -> Compilation:
        """Makes the pass through the network quicker, for a gain on CUDA; see `cifar.compilation` for what it takes.

        Weights and their names, evaluation and the moving average stay those of `network`. A quicker pass rounds
        otherwise and draws dropout otherwise, so that a run continued with it differs from one that ran through.

        Returns:
            What was done; where nothing can be, training continues as it was.
        """
        result = make_quicker(effort, self.losses, self.scaler, self.network, self._empty_batch(), self.device)
        self.quicker_pass = result.quicker
        return result

    def compile_if_worth(self, seconds_left: float) -> Compilation | None:
        """`compile` as far as it pays for so many seconds at the present speed; None where it does not."""
        effort = effort_worth(seconds_left, self.device)
        return self.compile(effort) if effort else None

    def _empty_batch(self) -> Batch:
        """A batch as `step` gets them, of zeros."""
        shape, where = (self.batch_size, *self.images.shape[1:]), self.images.device
        images = torch.zeros(shape, device=where).contiguous(memory_format=torch.channels_last)
        labels = torch.zeros(self.batch_size, dtype=torch.int64, device=where)
        mixes = self.recipe.augmentation.mixes
        return images, F.one_hot(labels, len(self.class_names)).float() if mixes else labels, labels

    def final_network(self) -> nn.Module:
        """A copy of the network with the weights that the recipe keeps: the last (averaged with EMA) or the best."""
        network = copy.deepcopy(self.evaluated)
        if self.recipe.keep == "best" and self.best:
            network.load_state_dict(self.best[2])
        return network.eval()

    def state_dict(self) -> dict[str, Any]:
        """Everything that continuing needs; plain data and tensors, for `cifar.checkpoint.save`."""
        return {
            "seed": self.seed,
            "total_steps": self.total_steps,
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.ema and {"steps": self.ema.steps, "network": self.ema.network.state_dict()},
            "best": self.best and list(self.best),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state_dict`; the run must have been made with the same candidate, data and seed."""
        assert state["seed"] == self.seed
        self.epoch, self.total_steps = state["epoch"], state["total_steps"]
        self.network.load_state_dict(state["network"])
        if self.lookahead:
            self.lookahead.restart()
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.ema:
            self.ema.steps = state["ema"]["steps"]
            self.ema.network.load_state_dict(state["ema"]["network"])
        self.best = state["best"] and tuple(state["best"])
