"""The training loop: one candidate, in-memory images, one result an epoch.

Augmentation runs on whole uint8 batches on the training device, with random choices of its own for each image; the
network runs in bfloat16 where the hardware has it and in channels_last memory format. An epoch's data order,
augmentation and dropout derive from the seed and the epoch's number alone, so a run that is saved after an epoch and
continued elsewhere ends in the same weights as one that ran through.
"""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cifar.augmentation.augment import augment, mix
from cifar.candidate import Candidate
from cifar.data.prepare import TrainingSplit, channel_statistics
from cifar.errors import Diverged
from cifar.evaluate import Normalization, normalize, predict_probabilities
from cifar.networks.registry import build_to_train
from cifar.optim import Ema, build_optimizer, lr_factor, set_lr
from cifar.recipe import Recipe
from cifar.runtime.allocator import keep_freed_memory
from cifar.runtime.device import Device
from cifar.runtime.seeds import derive_seed
from cifar.runtime.threads import in_rounds

AUGMENTED_AT_ONCE = 2048  # images; the fixed cost of each operation is shared by several batches

GIVEN_STATISTICS = {
    # of the training images, as the five reference projects give them
    "cifar10": Normalization((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "imagenet": Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


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


def normalization_for(recipe: Recipe, images: Tensor) -> Normalization:
    """The recipe's channel statistics; `computed` ones are of `images`, uint8 (N, 3, H, W)."""
    if recipe.statistics == "computed":
        return Normalization(*channel_statistics(images))
    return GIVEN_STATISTICS[recipe.statistics]


class Training:
    """One run of one candidate.

    Args:
        candidate: network and recipe; the network's classes and image size must be those of the data.
        split: training images, and validation images that may be none.
        device: where to train.
        epochs: length of this run in passes over `split.train`; the recipe's schedule is stretched to it, unless
            the recipe is one of early stopping.
        seed: of weights, data order, augmentation and dropout.
        load_pretrained: whether a pretrained network gets the weights that it starts from; a run that
            `load_state_dict` will continue needs none.
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
        if where.type == "cpu":
            keep_freed_memory()
        self.images = split.train.images.to(where)  # uint8 (N, 3, H, W)
        self.labels = split.train.labels.to(where)  # int64 (N,)
        self.val_images, self.val_labels = split.val.images.to(where), split.val.labels
        self.class_names = split.class_names
        self.batch_size = min(self.recipe.batch_size, len(self.labels))
        self.steps_an_epoch = len(self.labels) // self.batch_size  # the rest of a last batch waits for another epoch
        self.total_steps = max(1, round(epochs * self.steps_an_epoch))
        self.normalization = normalization_for(self.recipe, split.train.images)
        red, green, blue = (round(255 * mean) for mean in self.normalization.mean)
        self.fill = (red, green, blue)
        with torch.random.fork_rng(self._cuda_devices()):
            torch.manual_seed(derive_seed(seed, "weights"))
            network = build_to_train(candidate.network) if load_pretrained else candidate.network.build()
        self.network = network.to(where).to(memory_format=torch.channels_last)
        self._forward: Callable[[Tensor], Tensor] = self.network  # in training; `compile` takes its place
        self.optimizer = build_optimizer(self.network, self.recipe.optimizer)
        self.scaler = torch.amp.GradScaler(where.type, enabled=device.needs_loss_scaling)
        self.ema = Ema(self.network, self.recipe.ema_decay) if self.recipe.ema_decay else None
        self.epoch = 0
        self.best: tuple[float, int, dict[str, Tensor]] | None = None  # monitor (higher is better), epoch, weights

    @property
    def total_epochs(self) -> int:
        """Epochs of the whole run; the last may be a partial one."""
        return math.ceil(self.total_steps / self.steps_an_epoch)

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
            with torch.random.fork_rng(self._cuda_devices()):
                loss, accuracy, images = self._train_epoch()
            self.epoch += 1
            val_loss, val_accuracy = self._validate()
            self._remember_best(val_loss, val_accuracy)
            lr = self.optimizer.param_groups[0]["lr"]
            seconds = time.perf_counter() - started
            yield EpochResult(self.epoch, loss, accuracy, val_loss, val_accuracy, lr, images, seconds)

    def compile(self) -> str | None:
        """Compiles training's passes through the network: tens of seconds once. For CUDA; no gain on a CPU.

        Weights and their names, evaluation and the moving average stay those of `network`. The compiled passes round
        otherwise and draw dropout otherwise, so that a run continued with them differs from one that ran through.

        Returns:
            Why the network cannot be compiled, such as a missing C++ compiler, in one line; training then goes on
            uncompiled. None if all went well.
        """
        # reduce-overhead captures CUDA graphs, which not every network allows
        modes = ("reduce-overhead", "default") if self.device.torch_device.type == "cuda" else ("default",)
        problem = None
        for mode in modes:
            torch._dynamo.reset()  # networks compiled before count towards the limit of recompilations
            compiled = torch.compile(self.network, mode=mode, dynamic=False)
            try:
                self._try_passes(compiled)
            except Exception as error:  # of many kinds, and the uncompiled network tells those of its own
                reason, _, _ = str(error).partition("\n\n")  # what follows is advice on logging
                problem = " ".join(f"{type(error).__name__}: {reason}".split())
            else:
                self._forward = compiled
                return None
        return problem

    def _try_passes(self, forward: Callable[[Tensor], Tensor]) -> None:
        """A forward and a backward pass that leave weights, statistics, gradients and generators as they were."""
        images = torch.zeros(self.batch_size, *self.images.shape[1:], device=self.images.device)
        before = copy.deepcopy(self.network.state_dict())
        self.network.train()
        try:
            with torch.random.fork_rng(self._cuda_devices()):
                with self._autocast():
                    logits = forward(images.contiguous(memory_format=torch.channels_last))
                logits.float().sum().backward()  # type: ignore[no-untyped-call]
        finally:
            self.network.load_state_dict(before)
            self.optimizer.zero_grad(set_to_none=True)

    def steps(self, lrs: Iterable[float]) -> Iterator[Tensor]:
        """Trains one step at each of these learning rates, whatever the schedule.

        Yields each batch's mean loss, a scalar on the device: reading it waits for the step.

        Passes follow one another as the steps need them; no epoch is counted. Seeds torch's
        global generator: fork it around all the steps.
        """
        torch.manual_seed(derive_seed(self.seed, "dropout", "steps"))
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "steps"))
        batches = itertools.chain.from_iterable(self._batches(generator) for _ in itertools.count())
        self.network.train()
        for lr, (images, labels) in zip(lrs, batches, strict=False):
            set_lr(self.optimizer, lr, 1.0)
            yield self._step(images, labels, generator)[0] / len(labels)

    def _train_epoch(self) -> tuple[float, float, int]:
        """Mean loss, accuracy in [0, 1] and number of images of one pass."""
        torch.manual_seed(derive_seed(self.seed, "dropout", self.epoch))
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "epoch", self.epoch))
        totals = torch.zeros(2, device=self.images.device)  # loss, right images
        self.network.train()
        first = self.epoch * self.steps_an_epoch
        last = min(first + self.steps_an_epoch, self.total_steps)
        for step, (images, labels) in zip(range(first, last), self._batches(generator), strict=False):
            set_lr(self.optimizer, self.peak_lr, lr_factor(self.recipe, self._progress(step)))
            totals += self._step(images, labels, generator)
            if self.images.device.type == "cpu":  # elsewhere looking would stall the device: once an epoch, below
                self._require_finite(totals, step)
        self._require_finite(totals, last)
        loss, right = (totals / ((last - first) * self.batch_size)).tolist()
        return loss, right, (last - first) * self.batch_size

    def _progress(self, step: int) -> float:
        """How far the schedule is at a step, in [0, 1]; see `cifar.recipe` for what is stretched."""
        if self.recipe.early_stopping:
            return min(1.0, step / (self.recipe.epochs * self.steps_an_epoch))
        return step / self.total_steps

    def _step(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """One optimizer step; the batch's summed loss and right images, (2,) on the device."""
        targets: Tensor = labels
        if self.recipe.augmentation.mixup or self.recipe.augmentation.cutmix:
            one_hot = F.one_hot(labels, len(self.class_names)).float()  # (B, C)
            images, targets = mix(images, one_hot, self.recipe.augmentation, generator)
        with self._autocast():
            logits = self._forward(images).float()  # (B, C)
        loss = F.cross_entropy(logits, targets, label_smoothing=self.recipe.label_smoothing)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if self.ema:
            self.ema.update(self.network)
        right = (logits.detach().argmax(1) == labels).sum()
        return torch.stack((loss.detach() * len(labels), right))

    def _batches(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Augmented, normalised float32 (B, 3, H, W) in channels_last, with int64 (B,) labels."""
        order = torch.randperm(len(self.labels), generator=generator)[: self.steps_an_epoch * self.batch_size]
        batches_at_once = max(1, AUGMENTED_AT_ONCE // self.batch_size)
        chunks = torch.split(order, batches_at_once * self.batch_size)
        # a seed for each chunk, so that the images do not depend on how many chunks are augmented at the same time
        seeds: list[int] = torch.randint(2**63 - 1, (len(chunks),), generator=generator).tolist()
        threads = torch.get_num_threads() if self.images.device.type == "cpu" else 1
        for chunk in in_rounds(self._augmented, list(zip(chunks, seeds, strict=True)), threads):
            for batch, labels in zip(*(torch.split(part, self.batch_size) for part in chunk), strict=True):
                ready = normalize(batch, self.normalization)
                yield ready.contiguous(memory_format=torch.channels_last), labels

    def _augmented(self, chunk: tuple[Tensor, int]) -> tuple[Tensor, Tensor]:
        """Augmented uint8 images (B, 3, H, W) with int64 labels (B,), of int64 indices (B,) on the CPU and a seed."""
        order, seed = chunk
        index = order.to(self.images.device, non_blocking=True)
        generator = torch.Generator().manual_seed(seed)
        images = augment(self.images[index], self.recipe.augmentation, generator, fill=self.fill)
        return images, self.labels[index]

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
        return loss.item(), (probabilities.argmax(1) == self.val_labels).float().mean().item()

    def _remember_best(self, val_loss: float | None, val_accuracy: float | None) -> None:
        watching = self.recipe.keep == "best" or self.recipe.early_stopping
        if not watching or val_loss is None or val_accuracy is None:
            return
        value = val_accuracy if self.recipe.monitor == "val_accuracy" else -val_loss
        if self.best is None or value > self.best[0]:
            self.best = (value, self.epoch, copy.deepcopy(self.evaluated.state_dict()))

    def _stopped_early(self) -> bool:
        patience = self.recipe.early_stopping
        return bool(patience and self.best and self.epoch - self.best[1] >= patience)

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
        """Continues from `state_dict`; the run must have been made with the same candidate, data, length and seed."""
        assert (state["seed"], state["total_steps"]) == (self.seed, self.total_steps)
        self.epoch = state["epoch"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        if self.ema:
            self.ema.steps = state["ema"]["steps"]
            self.ema.network.load_state_dict(state["ema"]["network"])
        self.best = state["best"] and tuple(state["best"])

    def _autocast(self) -> torch.autocast:
        dtype = self.device.autocast
        return torch.autocast(self.device.torch_device.type, dtype=dtype, enabled=dtype is not None)

    def _cuda_devices(self) -> list[torch.device]:
        return [self.device.torch_device] if self.device.torch_device.type == "cuda" else []

    def _require_finite(self, totals: Tensor, step: int) -> None:
        if not math.isfinite(totals[0].item()):
            raise Diverged(f"the training loss became NaN or infinite near step {step} of {self.total_steps}")
