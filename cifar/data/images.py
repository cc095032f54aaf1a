"""Images in memory, and the statistics of their channels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from cifar.errors import DataError

Channels = tuple[float, float, float]
"""One number for red, green and blue each."""


@dataclass(frozen=True)
class ImageSet:
    """Images and their labels."""

    images: Tensor
    """uint8 (N, 3, H, W)."""
    labels: Tensor
    """int64 (N,)."""

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def statistics(self) -> tuple[Channels, Channels]:
        """Mean and standard deviation of each channel, see `channel_statistics`; computed once."""
        return channel_statistics(self.images)

    def to(self, device: torch.device) -> ImageSet:
        """The same on a device; this very object where it lies there already."""
        images, labels = self.images.to(device), self.labels.to(device)
        return self if images is self.images and labels is self.labels else ImageSet(images, labels)


def channel_statistics(images: Tensor) -> tuple[Channels, Channels]:
    """Mean and standard deviation of each channel, for normalisation.

    As `channel_moments`, but the deviation is at least 1/255, so that one may divide by it.

    Args:
        images: uint8 (N, 3, H, W), N at least 1.

    Raises:
        DataError: no images.
    """
    mean, std = channel_moments(images)
    red, green, blue = (max(1 / 255, deviation) for deviation in std)
    return mean, (red, green, blue)


def channel_moments(images: Tensor) -> tuple[Channels, Channels]:
    """Mean and standard deviation of each channel over all pixels, on the scale [0, 1].

    Exact, from a histogram of the 256 values; memory beyond the images stays below 100 MB.

    Args:
        images: uint8 (N, 3, H, W), N at least 1.

    Raises:
        DataError: no images.
    """
    if len(images) == 0:
        raise DataError("channel statistics need at least one image", got="none", remedy="Give training images")
    rows = max(1, 2**22 // images[0, 0].numel())
    counts = torch.zeros(3, 256, dtype=torch.float64)
    for start in range(0, len(images), rows):
        chunk = images[start : start + rows].cpu()
        for channel in range(3):
            counts[channel] += torch.bincount(chunk[:, channel].flatten(), minlength=256)
    shares = counts / counts.sum(dim=1, keepdim=True)
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = shares @ values
    std = (shares * (values - mean[:, None]) ** 2).sum(dim=1).sqrt()
    return (float(mean[0]), float(mean[1]), float(mean[2])), (float(std[0]), float(std[1]), float(std[2]))
