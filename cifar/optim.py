"""Optimizers, learning-rate schedules and the moving average of weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from cifar.muon import Muon
from cifar.parameter_groups import parameter_groups
from cifar.recipe import Optimizer, Recipe


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
    if settings.name == "muon":
        return Muon(groups, nesterov=settings.nesterov, renormalize=settings.renormalize_filters)
    return torch.optim.RMSprop(groups, lr, settings.beta2, momentum=settings.momentum)


def lr_factor(recipe: Recipe, progress: float, one_step: float = 0.0) -> float:
    """The learning rate as a fraction of its peak, the cool-down at the end included.

    Args:
        recipe: its schedule's durations count in epochs of its full length.
        progress: share of the run's steps that are done, in [0, 1).
        one_step: share of the run that one step is. Warm-up from 0 gives its first step the rate of that step's
            middle: at 0 the step would only move batch norm's statistics.
    """
    schedule = recipe.schedule
    into = progress * recipe.epochs - (recipe.epochs - schedule.cooldown_epochs)  # the cool-down, in epochs
    if into <= 0:
        return _scheduled_factor(recipe, progress, one_step)
    done = into / schedule.cooldown_epochs
    left = 1 - (math.sqrt(done) if schedule.cooldown_shape == "sqrt" else done)
    return _scheduled_factor(recipe, progress, one_step) * left


def _scheduled_factor(recipe: Recipe, progress: float, one_step: float) -> float:
    """The learning rate as a fraction of its peak, without the cool-down."""
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
