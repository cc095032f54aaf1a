"""What a user may set of a retraining."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cifar.config import SINCE_0_2

CompileChoice = Literal["auto", "on", "off"]

VAL_SIZE = 5000
"""Validation images that are kept where there is something to choose by them."""


@dataclass(frozen=True)
class RetrainSettings:
    """How a candidate is trained in full; None leaves the recipe's own."""

    epochs: float | None = None
    """Passes over the training images."""
    time_budget: float | None = None
    """Seconds that training may take; the epochs are fitted to it."""
    val_size: int | None = None
    """Training images kept for validation; 0 trains on all."""
    keep: str | None = None
    """last, best (by the recipe's monitor) or ema (a moving average)."""
    tta: bool = False
    """Whether test-time augmentation is reported too."""
    seed: int = 0
    """Seed of weights, data order and augmentation."""
    train_size: int | None = None
    """Size of a fixed, stratified subset of the training images; None takes all."""
    longer: float | None = field(default=None, metadata=SINCE_0_2)
    """Passes of the recipe's variant that is trained, without a time budget; None is the recipe as it is."""
