"""What a recipe becomes where a time budget allows more: a wider network, more augmentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cifar.candidate import Candidate, Variant
from cifar.data.splits import TrainingSplit
from cifar.runtime.device import Device
from search.format import format_duration
from search.retraining.run_length import TIMED_EPOCHS, TIMED_IMAGES, epoch_seconds

LEAST_GROWTH = 0.7
"""Exponent of the multiply-accumulates in the least time of a pass: wide layers are faster for each of them, but on two
cores a network of 3.6 times as many still took 2.8 times as long, which is an exponent of 0.8."""

TIMING_SHARE = 0.05
"""Most of the time that the timing of one variant may take."""


@dataclass(frozen=True)
class Choice:
    """What is trained in a time budget."""

    variant: Variant | None
    """The variant; None is the recipe as it is."""
    epoch_seconds: float | None
    """Seconds of one of its epochs; None where nothing was timed."""


def choose_variant(
    seconds: float,
    candidate: Candidate,
    longer: Sequence[Variant],
    split: TrainingSplit,
    device: Device,
    say: Callable[[str], None],
) -> Choice:
    """The last of the variants of which so many seconds allow enough passes.

    Each is timed for a few batches, unless the one before tells that it is too slow, or that timing it would take long.

    Args:
        seconds: that training may take.
        candidate: the recipe as it is.
        longer: its variants, in the order of their cost.
        split: training and validation images.
        device: where to train.
        say: is told the choice and its reason.
    """
    timed, macs = epoch_seconds(candidate, split, device), candidate.cost.macs
    choice, reason = Choice(None, timed), "are best spent on the network as it is"
    for variant in longer:
        cost = variant.candidate.cost.macs
        expected = timed * (cost / macs) ** LEAST_GROWTH
        timing = expected * TIMED_EPOCHS * min(1.0, TIMED_IMAGES / len(split.train))
        if seconds / expected < variant.passes or timing > TIMING_SHARE * seconds:
            break
        timed, macs = epoch_seconds(variant.candidate, split, device), cost
        if seconds / timed >= variant.passes:
            choice, reason = Choice(variant, timed), f"allow {seconds / timed:.0f} passes, so that {variant.why}"
    say(f"{format_duration(seconds)} {reason}")
    return choice
