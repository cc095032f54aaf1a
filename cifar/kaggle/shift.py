"""How far the channel statistics of unlabelled images are from those of the training set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cifar.data.images import channel_moments

CHANNELS = ("red", "green", "blue")
NOTABLE_SHIFT = 0.1
"""In units of the training set's standard deviation. CIFAR-10's own test set shifts by less than 0.02."""


@dataclass(frozen=True)
class ShiftReport:
    """Channel statistics of a set of images beside those of the training set, all of values in [0, 1]."""

    mean: tuple[float, ...]
    """Mean of the set's red, green and blue values."""
    std: tuple[float, ...]
    """Their standard deviation."""
    training_mean: tuple[float, ...]
    """Mean of the training set's values."""
    training_std: tuple[float, ...]
    """Their standard deviation."""

    @property
    def shift(self) -> tuple[float, ...]:
        """Difference of the means, in units of the training set's standard deviation."""
        rows = zip(self.mean, self.training_mean, self.training_std, strict=True)
        return tuple((mean - training) / unit for mean, training, unit in rows)

    @property
    def contrast(self) -> tuple[float, ...]:
        """Standard deviation as a multiple of the training set's."""
        return tuple(std / training for std, training in zip(self.std, self.training_std, strict=True))

    @property
    def notable(self) -> bool:
        """Whether a mean or a standard deviation differs by more than `NOTABLE_SHIFT` training deviations."""
        return max(map(abs, self.shift)) > NOTABLE_SHIFT or max(abs(c - 1) for c in self.contrast) > NOTABLE_SHIFT

    def lines(self) -> list[str]:
        """A small table, and what it means."""
        head = "channel  mean (training)  std (training)   shift in training std"
        rows = [
            f"{channel:7}  {mean:.4f} ({training_mean:.4f})  {std:.4f} ({training_std:.4f})  {shift:+.2f}"
            for channel, mean, training_mean, std, training_std, shift in zip(
                CHANNELS, self.mean, self.training_mean, self.std, self.training_std, self.shift, strict=True
            )
        ]
        verdict = (
            "the images differ from the training set: normalising them by their own mean and std may help"
            if self.notable
            else "the images are much like the training set"
        )
        return [head, *rows, verdict]


def normalisation_shift(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> ShiftReport:
    """How far the channel statistics of images are from those of the training set.

    Args:
        images: uint8 (N, 3, H, W), at least one.
        mean: mean of each channel of the training set, of values in [0, 1].
        std: standard deviation of each channel of the training set; positive.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3 or not images.numel():
        raise ValueError(f"images must be uint8 (N, 3, H, W), got {images.dtype} {tuple(images.shape)}")
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError(f"three means and positive standard deviations are needed, got {mean} and {std}")
    means, deviations = channel_moments(images)
    return ShiftReport(means, deviations, tuple(mean), tuple(std))
