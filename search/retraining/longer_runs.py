"""What a recipe becomes where a time budget allows more: a wider network, more augmentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cifar.candidate import Candidate, Variant
from cifar.data.splits import TrainingSplit
from cifar.runtime.device import Device
from search.format import format_duration
from search.retraining.run_length import epoch_seconds


def variant_for(
    seconds: float,
    candidate: Candidate,
    longer: Sequence[Variant],
    split: TrainingSplit,
    device: Device,
    say: Callable[[str], None],
) -> Variant | None:
    """The last of the variants of which so many seconds allow enough passes; None is the recipe as it is.

    Only the recipe as it is is timed. A variant's passes are taken to cost as much more as its network has more
    multiply-accumulates: too much rather than too little, since larger layers run faster for each of them.

    Args:
        seconds: that training may take.
        candidate: the recipe as it is.
        longer: its variants, in the order of their cost.
        split: training and validation images.
        device: where to train.
        say: is told the choice and its reason.
    """
    if not longer:
        return None
    a_mac = epoch_seconds(candidate, split, device) / candidate.cost.macs
    found = None
    for variant in longer:
        passes = seconds / (a_mac * variant.candidate.cost.macs)
        if passes >= variant.passes:
            found = variant
            chosen = f"{format_duration(seconds)} allow about {passes:.0f} passes, so that {variant.why}"
    say(chosen if found else f"{format_duration(seconds)} are best spent on the recipe as it is")
    return found
