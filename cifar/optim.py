"""Optimizers, learning-rate schedules and the moving average of weights."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from cifar.config import require
from cifar.recipe import Optimizer, Recipe

HEAD = "fc"  # name of the last linear layer, in all built-in networks


def build_optimizer(network: nn.Module, settings: Optimizer) -> torch.optim.Optimizer:
    """The optimizer over all trainable parameters of `network`, each group's rate at the peak."""
    groups = parameter_groups(network, settings)
    lr = settings.peak_lr
    betas = (settings.momentum, settings.beta2)
    if settings.name == "sgd":
        return torch.optim.SGD(groups, lr, settings.momentum, nesterov=settings.nesterov, fused=True)
    if settings.name == "adamw":
        return torch.optim.AdamW(groups, lr, betas, fused=True)
    if settings.name == "adam":
        return torch.optim.Adam(groups, lr, betas, fused=True)
    return torch.optim.RMSprop(groups, lr, settings.beta2, momentum=settings.momentum)


def parameter_groups(network: nn.Module, settings: Optimizer) -> list[dict[str, Any]]:
    """Trainable parameters with their weight decay and, as `lr_factor`, their share of the learning rate.

    Vectors (norms, biases) are apart if they are not decayed; head and backbone, if their rates differ, head first.
    """
    trainable = {name: p for name, p in network.named_parameters() if p.requires_grad}
    head, backbone = list(trainable.values()), []
    if settings.backbone_lr_factor != 1:
        head = [p for name, p in trainable.items() if name.startswith(f"{HEAD}.")]
        backbone = [p for name, p in trainable.items() if not name.startswith(f"{HEAD}.")]
        require(
            bool(head),
            "optimizer.backbone_lr_factor needs a network whose last layer is named fc",
            settings.backbone_lr_factor,
            "Set it to 1",
        )
    parts = [(head, 1.0), (backbone, settings.backbone_lr_factor)]
    return [group for part, factor in parts if part for group in _decay_groups(part, settings, factor)]


def _decay_groups(parameters: list[nn.Parameter], settings: Optimizer, factor: float) -> list[dict[str, Any]]:
    common = {"lr_factor": factor, "lr": settings.peak_lr * factor}
    if settings.decay_norm_and_bias:
        return [{"params": parameters, "weight_decay": settings.weight_decay, **common}]
    matrices = [p for p in parameters if p.ndim > 1]
    vectors = [p for p in parameters if p.ndim <= 1]
    groups = ((matrices, settings.weight_decay), (vectors, 0.0))
    return [{"params": part, "weight_decay": decay, **common} for part, decay in groups if part]


def lr_factor(recipe: Recipe, progress: float, one_step: float = 0.0) -> float:
    """The learning rate as a fraction of its peak.

    Args:
        recipe: its schedule's durations count in epochs of its full length.
        progress: share of the run's steps that are done, in [0, 1).
        one_step: share of the run that one step is. Warm-up from 0 gives its first step the rate of that step's
            middle: at 0 the step would only move batch norm's statistics.
    """
    schedule = recipe.schedule
    epoch, total = progress * recipe.epochs, recipe.epochs
    warmup = schedule.warmup_epochs
    if epoch < warmup:
        ramp = schedule.start_factor + (1 - schedule.start_factor) * epoch / warmup
        return max(ramp, min(1.0, one_step * total / 2 / warmup))
    after = (epoch - warmup) / (total - warmup) if total > warmup else 0.0  # share of the rest that is done
    if schedule.name == "cosine":  # arXiv 1608.03983, equation 5, without restarts
        return schedule.final_factor + (1 - schedule.final_factor) * (1 + math.cos(math.pi * after)) / 2
    if schedule.name == "one_cycle":  # linear up and down: arXiv 1708.07120
        return 1 + (schedule.final_factor - 1) * after
    if schedule.name == "step":
        # a hair more than the epoch, so that progress rounded down does not miss a drop by one step
        return float(schedule.gamma ** math.floor(epoch / schedule.step_epochs + 1e-9))
    return 1.0


def set_lr(optimizer: torch.optim.Optimizer, peak: float, factor: float) -> None:
    """Sets every group's learning rate to `peak * factor`, times the group's own `lr_factor`."""
    for group in optimizer.param_groups:
        group["lr"] = peak * factor * group.get("lr_factor", 1.0)


class Ema:
    """Exponential moving average of weights and batch-norm statistics.

    The decay grows as (1 + t) / (10 + t) over the first steps t, so that short runs are not dominated by the
    random initial weights (as tf.train.ExponentialMovingAverage does with `num_updates`).

    Args:
        network: what is averaged. It changes in place only: its tensors are listed once, since walking through its
            modules at each step takes longer than the averaging.
        decay: upper bound of the decay a step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay = decay
        self.steps = 0
        self._averages, self._current = _floats(self.network), _floats(network)

    @torch.no_grad()
    def update(self) -> None:
        """Moves the average towards the network, once a training step."""
        weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        torch._foreach_lerp_(self._averages, self._current, weight)


def _floats(network: nn.Module) -> list[Tensor]:
    """Parameters and floating-point buffers, in a fixed order."""
    return [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]
