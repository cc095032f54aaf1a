"""The prior of the ResNet spaces: how far proposals lie from the known good point, by the length of the run.

A setting that cannot pay in a short run is not a coin flip there: it stays as it is in the point, but for a small
chance. Averages of weights and what makes the task harder (dropout, mixing, policies, occlusion) need many passes over
the images: airbench94's ten (arXiv 2404.00498) only mirror and shift images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

SHORT, LONG = 10.0, 100.0  # passes over the training images up to which and from which on the spreads stay the same
NEVER, AS_LIKELY = 0.02, 0.5  # of what only long runs want: chance to differ from the point, in short and long runs
NARROW, WIDE = 0.02, 0.2  # likewise of numbers, as a share of the range

LONG_RUN_CHOICES = (
    "ema_decay",
    "stochastic_depth",
    "color_jitter",
    "rotation",
    "policy",
    "occlusion",
    "ricap",
    "mixing",
)
LONG_RUN_NUMBERS = ("dropout",)

UNLIKELY = 0.03
"""Chance of what one seldom wants, such as images that are never mirrored."""
CHOICES: Mapping[str, float] = {
    "design": 0.15,  # two families; the other one is as good as unknown in short runs
    "flip": UNLIKELY,
    "nesterov": UNLIKELY,
    "muon_nesterov": UNLIKELY,
    "decay_norm_and_bias": UNLIKELY,
    "squeeze_excitation": UNLIKELY,
    "kernel": UNLIKELY,  # 5x5 kernels cost nearly three times as much
    "cooldown": 0.5,  # asked for schedules that the point does not have
    "large_batch": 0.15,
    "large_batch_size": 0.25,
    "muon": 0.25,  # airbench94_muon's gain over airbench94 (github.com/KellerJordan/cifar10-airbench)
    "alternating_flip": 0.3,  # arXiv 2404.00498
    "crop_mode": 0.3,  # likewise
    "lookahead": 0.3,  # likewise
    "fast_activation": 0.2,
}

OTHER_POINTS: Mapping[str, Any] = {
    "muon_lr": 0.24,
    "muon_momentum": 0.6,
    "muon_nesterov": True,
    "muon_other_lr_factor": 0.22,
}
"""Where settings lie that a recipe of another optimizer does not have: airbench94_muon's."""


def spreads(passes: float) -> dict[str, float]:
    """The spread of parameters that differ from the usual one, see `spaces.base.Prior`.

    Args:
        passes: length of the run, in passes over the training images.
    """
    length = math.log(max(passes, SHORT) / SHORT) / math.log(LONG / SHORT)
    share = min(1.0, length)  # 0 for short runs, 1 for long ones
    chance, width = NEVER + share * (AS_LIKELY - NEVER), NARROW + share * (WIDE - NARROW)
    return {**CHOICES, **dict.fromkeys(LONG_RUN_CHOICES, chance), **dict.fromkeys(LONG_RUN_NUMBERS, width)}
