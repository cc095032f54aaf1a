"""Mixup and CutMix: images and their targets mixed with those of a partner in the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from cifar.augmentation.draws import uniform
from cifar.augmentation.image_ops import box_mask, on_device
from cifar.recipe import Augmentation


def mix(images: Tensor, targets: Tensor, recipe: Augmentation, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mixes each image, and its target alike, with a partner from a permutation of the batch.

    Mixup (arXiv 1710.09412) averages the two, CutMix (arXiv 1905.04899) pastes a box of the partner; each
    image's own share is drawn from Beta(alpha, alpha). With both on, each batch draws one of the two, equally
    likely.

    Args:
        images: float (B, 3, H, W), normalised; left as they are.
        targets: float (B, C), class probabilities.
        recipe: its mixup and cutmix count here; with both off, what was given is returned.
        generator: a CPU generator, the source of every choice.

    Returns:
        Mixed images and targets, shaped as given.
    """
    methods = [(_mixup, recipe.mixup), (_cutmix, recipe.cutmix)]
    active = [(method, alpha) for method, alpha in methods if alpha]
    if not active:
        return images, targets
    drawn = int(torch.randint(2, (), generator=generator)) if len(active) == 2 else 0
    method, alpha = active[drawn]
    partner = on_device(torch.randperm(len(images), generator=generator), images.device)
    share = _beta(alpha, len(images), generator)
    return method(images, targets, partner, share, generator)


def _mixup(
    images: Tensor, targets: Tensor, partner: Tensor, share: Tensor, _: torch.Generator
) -> tuple[Tensor, Tensor]:
    weight = on_device(share.to(images.dtype), images.device).view(-1, 1, 1, 1)
    return images[partner].lerp(images, weight), _mix_targets(targets, partner, share)


def _cutmix(
    images: Tensor, targets: Tensor, partner: Tensor, share: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    height, width = images.shape[-2:]
    boxes = _cutmix_boxes(height, width, share, generator)
    pasted = box_mask(boxes, height, width, images.device)
    exact_share = 1 - (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / (height * width)
    return torch.where(pasted, images[partner], images), _mix_targets(targets, partner, exact_share)


def _cutmix_boxes(height: int, width: int, share: Tensor, generator: torch.Generator) -> Tensor:  # (B, 4)
    """CutMix's boxes, of area 1 - share before they are clipped at the border."""
    half = 0.5 * (1 - share).sqrt()
    half_height, half_width = (half * height).long(), (half * width).long()
    y = torch.randint(height, share.shape, generator=generator)
    x = torch.randint(width, share.shape, generator=generator)
    top, bottom = (y - half_height).clamp(min=0), (y + half_height).clamp(max=height)
    left, right = (x - half_width).clamp(min=0), (x + half_width).clamp(max=width)
    return torch.stack([top, left, bottom, right], dim=1)


def _mix_targets(targets: Tensor, partner: Tensor, share: Tensor) -> Tensor:  # (B, C)
    weight = on_device(share.to(targets.dtype), targets.device).unsqueeze(1)
    return targets[partner].lerp(targets, weight)


def _beta(alpha: float, count: int, generator: torch.Generator) -> Tensor:  # (count,) float64 in [0, 1]
    """Draws from Beta(alpha, alpha), as g1 / (g1 + g2) of two gamma draws.

    In logarithms, with Gamma(alpha) = Gamma(alpha + 1) * U^(1 / alpha) (Marsaglia and Tsang, 2000): for a
    small alpha both draws would otherwise underflow to 0.
    """
    shape = torch.full((2, count), alpha + 1, dtype=torch.float64)
    boosted = torch._standard_gamma(shape, generator=generator).log()
    first, second = (boosted + uniform(0, 1, 2, count, generator=generator).log() / alpha).unbind()
    return (first - second).sigmoid()
