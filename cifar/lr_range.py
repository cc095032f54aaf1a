"""The learning-rate range test: one short run whose rate grows at each step shows which rates train a network.

L. N. Smith (arXiv 1506.01186, section 3.3) lets the rate grow linearly. That it grows exponentially, that the loss is
watched instead of the accuracy, that the run ends once the smoothed loss exceeds four times its least value, and the
rule for the suggested rate are fast.ai's (`fastai/callback/schedule.py`: `LRFinder` and `minimum`).

The test trains a network of its own with the recipe's augmentation, loss and optimizer, and throws it away: the run
that follows starts from the same weights and random numbers as it would without the test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from cifar.candidate import Candidate
from cifar.config import require
from cifar.data.images import ImageSet
from cifar.data.splits import TrainingSplit
from cifar.errors import ConfigError
from cifar.runtime.device import Device
from cifar.train import Training

LOWEST, HIGHEST, STEPS = 1e-5, 10.0, 100
LEAST_STEPS = 10
DIVERGED_AT = 4.0  # times the least smoothed loss, as in fast.ai
SUGGESTED_SHARE = 0.1  # suggested rate as a share of that of the least smoothed loss, as fast.ai's `minimum`
WINDOW_SHARE = 0.05  # mean age of the smoothed losses as a share of the steps; more would lag behind a rising loss
LEAST_FALL = 0.05  # least fall that is not noise, as a share of the first losses


@dataclass(frozen=True)
class RangeTest:
    """What a range test measured."""

    lrs: tuple[float, ...]
    """Learning rate of each step done, rising."""
    losses: tuple[float, ...]
    """Training loss of each step's batch before its step, label smoothing and mixing included; the last may be NaN."""
    smoothed: tuple[float, ...]
    """Exponential moving average of the losses, corrected for its start (arXiv 1412.6980, section 3)."""
    diverged: bool
    """Whether it ended because the loss diverged."""

    @property
    def stopped(self) -> str:
        """Why it ended."""
        return f"diverged at {self.lrs[-1]:.2g}" if self.diverged else "reached the highest rate"

    @property
    def least(self) -> int:
        """Index of the least smoothed loss."""
        return min(range(len(self.lrs)), key=lambda step: _nan_last(self.smoothed[step]))

    @property
    def suggested(self) -> float:
        """A tenth of the rate of the least smoothed loss, but no less than the lowest rate; see `doubt`."""
        return max(self.lrs[0], SUGGESTED_SHARE * self.lrs[self.least])

    @property
    def falls(self) -> bool:
        """Whether the loss fell well below those of the first tenth of the steps; without it no rate is good."""
        first = self.losses[: max(1, len(self.losses) // 10)]
        return self.smoothed[self.least] < (1 - LEAST_FALL) * sum(first) / len(first)

    @property
    def doubt(self) -> str:
        """Why there is no suggestion to rely on, with a remedy; empty if there is."""
        if not self.falls:
            fate = "the loss diverged without having fallen" if self.diverged else "the loss did not fall"
            return f"{fate}: take more steps or {'lower' if self.diverged else 'higher'} rates"
        if self.least == len(self.lrs) - 1:
            return "the loss still fell at the highest rate: raise it"
        if SUGGESTED_SHARE * self.lrs[self.least] < self.lrs[0]:
            return "the loss was least near the lowest rate: lower it"
        return ""


def range_test(
    candidate: Candidate,
    split: TrainingSplit,
    *,
    device: Device,
    seed: int,
    low: float = LOWEST,
    high: float = HIGHEST,
    steps: int = STEPS,
    linear: bool = False,
) -> RangeTest:
    """Trains a fresh network with a rate that grows from `low` to `high`, until the loss diverges.

    Args:
        candidate: network and recipe, whose own rate and schedule are ignored; classes and image size are the data's.
        split: its training images are used, as often as the steps need them; its validation images are not.
        device: where to train.
        seed: seed of weights, data order, augmentation and dropout; torch's own generators are left as they were.
        low: rate of the first step, above 0.
        high: rate of the last step.
        steps: batches to train on, 10 or more.
        linear: equal differences between rates, as in the paper, instead of equal factors.

    Raises:
        ConfigError: impossible rates or steps.
    """
    check_range(low, high, steps)
    optimizer = replace(candidate.recipe.optimizer, lr=low)
    candidate = replace(
        candidate, recipe=replace(candidate.recipe, optimizer=optimizer, ema_decay=0.0, lookahead_steps=0)
    )
    no_validation = ImageSet(split.val.images[:0], split.val.labels[:0])
    split = TrainingSplit(split.train, no_validation, split.class_names)
    with device.forked_generators():
        training = Training(candidate, split, device=device, epochs=1, seed=seed)
        lrs = _rates(low, high, steps, linear)
        losses: list[float] = []
        smoothed: list[float] = []
        keep = 1 - 1 / max(2.0, WINDOW_SHARE * steps)  # decay of the average
        average, diverged = 0.0, False
        for step, loss in enumerate((loss.item() for loss in training.steps(lrs)), start=1):
            average = keep * average + (1 - keep) * loss
            losses.append(loss)
            smoothed.append(average / (1 - keep**step))
            diverged = not smoothed[-1] <= DIVERGED_AT * min(smoothed)  # NaN too
            if diverged:
                break
    return RangeTest(tuple(lrs[: len(losses)]), tuple(losses), tuple(smoothed), diverged)


def suggest_lr(candidate: Candidate, split: TrainingSplit, *, device: Device, seed: int) -> float:
    """The rate that a range test of the usual length suggests, for recipes with `lr = "range_test"`.

    Raises:
        ConfigError: no rate made the loss fall.
    """
    result = range_test(candidate, split, device=device, seed=seed)
    if not result.falls:
        raise ConfigError(
            "optimizer.lr = 'range_test' needs a loss that falls at some rate",
            got=f"{result.doubt.partition(':')[0]} between {LOWEST:g} and {result.lrs[-1]:.2g}",
            remedy="Give optimizer.lr as a number, or look at it with python -m search.lr_range",
        )
    return result.suggested


def check_range(low: float, high: float, steps: int) -> None:
    """Raises `ConfigError` unless a test can go from `low` to `high` in `steps` steps."""
    require(0 < low < math.inf, "the lowest rate of a range test must be above 0", low, "1e-5 is usual")
    require(
        low < high < math.inf,
        "the highest rate of a range test must exceed the lowest",
        (low, high),
        "10 is usual",
    )
    require(steps >= LEAST_STEPS, f"a range test takes {LEAST_STEPS} steps or more", steps, "100 is usual")


def _rates(low: float, high: float, steps: int, linear: bool) -> list[float]:
    """`steps` rates, the first exactly `low` and the last exactly `high`."""
    shares = [step / (steps - 1) for step in range(1, steps - 1)]
    if linear:
        return [low, *(low + (high - low) * share for share in shares), high]
    start, end = math.log(low), math.log(high)
    return [low, *(math.exp(start + (end - start) * share) for share in shares), high]


def _nan_last(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf
