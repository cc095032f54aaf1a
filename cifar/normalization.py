"""Channel statistics that bring raw images to the scale that a network takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from cifar.data.images import ImageSet
from cifar.errors import ConfigError
from cifar.recipe import Recipe


@dataclass(frozen=True)
class Normalization:
    """Per-channel mean and standard deviation of images in [0, 1]."""

    mean: tuple[float, float, float]
    """Subtracted from each channel."""
    std: tuple[float, float, float]
    """Divides each channel; positive."""

    def __post_init__(self) -> None:
        if not (all(map(math.isfinite, (*self.mean, *self.std))) and min(self.std) > 0):
            raise ConfigError(
                "normalisation needs finite means and positive standard deviations",
                got=f"mean {self.mean}, std {self.std}",
                remedy="Compute them from images that are not all alike",
            )

    @property
    def mean_colour(self) -> tuple[int, int, int]:
        """The mean as a uint8 colour."""
        red, green, blue = (round(255 * mean) for mean in self.mean)
        return red, green, blue


GIVEN_STATISTICS = {
    # statistics of the training images, as the five reference projects give them
    "cifar10": Normalization((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "imagenet": Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


def normalization_for(recipe: Recipe, train: ImageSet) -> Normalization:
    """The recipe's channel statistics; `computed` ones are those of the training images."""
    if recipe.statistics == "computed":
        return Normalization(*train.statistics)
    return GIVEN_STATISTICS[recipe.statistics]


def normalize(images: Tensor, normalization: Normalization) -> Tensor:
    """Network input of raw images, in one multiply-add.

    Args:
        images: uint8 (B, 3, H, W); their memory format is kept.
        normalization: in units of [0, 1].

    Returns:
        float32 (B, 3, H, W), `(images / 255 - mean) / std`.
    """
    scale, shift = scale_and_shift(normalization, images.device)
    return torch.addcmul(shift, images.float(), scale)


@cache  # a copy to the device would wait for it at every batch
@torch.inference_mode(False)  # usable in training too, whoever asks first
def scale_and_shift(normalization: Normalization, device: torch.device) -> tuple[Tensor, Tensor]:
    """What a raw image is multiplied by, and what is added then, (1, 3, 1, 1) each."""
    mean = torch.tensor(normalization.mean, dtype=torch.float64)
    std = torch.tensor(normalization.std, dtype=torch.float64)
    both = torch.stack([1 / (255 * std), -mean / std]).to(device, torch.float32).view(2, 1, 3, 1, 1)
    return both[0], both[1]  # (1, 3, 1, 1) each
