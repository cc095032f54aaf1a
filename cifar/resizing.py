"""Progressive resizing: training images are small at first, which is faster, and of full size later.

fast.ai's idea (fastbook, chapter 7); the network learns coarse features before fine ones. Its layers must take images
of any size: those that end in global pooling do.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cifar.errors import ConfigError
from cifar.prediction import eval_mode
from cifar.recipe import Recipe


def training_side(recipe: Recipe, side: int, progress: float) -> int:
    """Height and width in pixels of the training images.

    Args:
        recipe: its `resolution_start` and `full_resolution_after` count.
        side: of the data's images, in pixels.
        progress: share of the run that is done, in [0, 1].
    """
    return side if progress >= recipe.full_resolution_after else max(1, round(recipe.resolution_start * side))


def resized(images: Tensor, side: int) -> Tensor:
    """Float images (B, 3, H, W) in height and width `side`, smoothed as they shrink; as they are if they have it."""
    if images.shape[-1] == side:
        return images
    small = F.interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return small.contiguous(memory_format=torch.channels_last)


def require_any_size(network: nn.Module, recipe: Recipe, side: int) -> None:
    """Raises `ConfigError` unless the network takes the recipe's small images as well as those of `side` pixels.

    Args:
        network: on any device; left as it is.
        recipe: its `resolution_start` counts.
        side: of the data's images, in pixels.
    """
    small = training_side(recipe, side, progress=0.0)
    where = next(network.parameters()).device
    try:
        with eval_mode(network), torch.inference_mode():
            network(torch.zeros(1, 3, small, small, device=where))
    except Exception as error:  # of many kinds
        raise ConfigError(
            "resolution_start needs a network that takes images of any size, such as one with global pooling",
            got=f"{small} instead of {side} pixels: {' '.join(str(error).split())[:200]}",
            remedy="Set resolution_start = 1, or network.pool = 0",
        ) from None
