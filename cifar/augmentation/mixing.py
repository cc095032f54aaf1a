"""Mixup, CutMix and RICAP: images and their targets mixed with those of others in the batch."""

from __future__ import annotations

import torch
from torch import Tensor

from cifar.augmentation.draws import uniform, uniform_integer
from cifar.augmentation.image_ops import box_mask, on_device
from cifar.recipe import Augmentation

PATCHES = 4  # of an image made by RICAP


def mix(images: Tensor, targets: Tensor, recipe: Augmentation, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mixes each image, and its target alike, with others of the batch.

    Mixup (arXiv 1710.09412) averages an image and a partner, CutMix (arXiv 1905.04899) pastes a box of the partner;
    each image's own share is drawn from Beta(alpha, alpha). RICAP (arXiv 1811.09030) puts patches of four images
    together. With several on, each batch draws one of them, equally likely.

    Args:
        images: float (B, 3, H, W), normalised; left as they are.
        targets: float (B, C), class probabilities.
        recipe: its mixup, cutmix, ricap and mixing_probability count here; with the first three off, what was given
            is returned.
        generator: a CPU generator, the source of every choice.

    Returns:
        Mixed images and targets, shaped as given.
    """
    methods = [(_mixup, recipe.mixup), (_cutmix, recipe.cutmix), (_ricap, recipe.ricap)]
    active = [(method, alpha) for method, alpha in methods if alpha]
    if not active or _spared(recipe.mixing_probability, generator):
        return images, targets
    drawn = int(torch.randint(len(active), (), generator=generator)) if len(active) > 1 else 0
    method, alpha = active[drawn]
    return method(images, targets, alpha, generator)


def _spared(probability: float, generator: torch.Generator) -> bool:
    """Whether this batch stays as it is; draws only if that may be."""
    return probability < 1 and torch.rand((), generator=generator).item() >= probability


def _mixup(images: Tensor, targets: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    partner = _partners(images, generator)
    share = _beta(alpha, len(images), generator)
    weight = on_device(share.to(images.dtype), images.device).view(-1, 1, 1, 1)
    return images[partner].lerp(images, weight), _mix_targets(targets, partner, share)


def _cutmix(images: Tensor, targets: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    height, width = images.shape[-2:]
    partner = _partners(images, generator)
    boxes = _cutmix_boxes(height, width, _beta(alpha, len(images), generator), generator)
    pasted = box_mask(boxes, height, width, images.device)
    exact_share = 1 - (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / (height * width)
    return torch.where(pasted, images[partner], images), _mix_targets(targets, partner, exact_share)


def _partners(images: Tensor, generator: torch.Generator) -> Tensor:  # (B,) int64 on the images' device
    return on_device(torch.randperm(len(images), generator=generator), images.device)


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


def _ricap(images: Tensor, targets: Tensor, beta: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Four patches that meet in a point, drawn from Beta(beta, beta) in both directions; the first is the image's own.

    Each patch is a random part of its source, and its area is its source's share of the target. The paper draws one
    point a batch; here each image has its own, as in all mixing.
    """
    batch, _, height, width = images.shape
    others = [torch.randperm(batch, generator=generator) for _ in range(PATCHES - 1)]
    sources = torch.stack([torch.arange(batch), *others])  # (4, B): upper left, upper right, lower left, lower right
    top, left = ((_beta(beta, batch, generator) * side).round().long() for side in (height, width))
    heights = torch.stack([top, top, height - top, height - top])  # (4, B)
    widths = torch.stack([left, width - left, left, width - left])
    rows_down = uniform_integer(height - heights + 1, generator) - torch.stack([top * 0, top * 0, top, top])
    columns_right = uniform_integer(width - widths + 1, generator) - torch.stack([left * 0, left, left * 0, left])
    starts = (sources * height + rows_down) * width + columns_right  # of each patch, as if it began at pixel 0
    shares = on_device((heights * widths / (height * width)).to(targets.dtype), targets.device)
    mixed = (targets[on_device(sources, targets.device)] * shares.unsqueeze(2)).sum(0)  # (B, C)
    return _patched(
        images, on_device(starts, images.device), *on_device(torch.stack([top, left]), images.device)
    ), mixed


def _patched(images: Tensor, starts: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """Pixel (y, x) of image b is pixel starts[patch, b] + y W + x of all images in a row; channels_last.

    Args:
        images: float (B, 3, H, W).
        starts: int64 (4, B).
        top: rows of the upper patches, int64 (B,).
        left: columns of the left patches, int64 (B,).
    """
    batch, channels, height, width = images.shape
    y, x = torch.arange(height, device=images.device)[:, None], torch.arange(width, device=images.device)
    is_left, is_upper = x < left.view(-1, 1, 1), y < top.view(-1, 1, 1)  # (B, 1, W), (B, H, 1)
    upper_left, upper_right, lower_left, lower_right = starts.view(PATCHES, -1, 1, 1)
    upper, lower = torch.where(is_left, upper_left, upper_right), torch.where(is_left, lower_left, lower_right)
    index = torch.where(is_upper, upper, lower) + y * width + x  # (B, H, W)
    pixels = images.permute(0, 2, 3, 1).reshape(-1, channels)
    return pixels.index_select(0, index.flatten()).view(batch, height, width, channels).permute(0, 3, 1, 2)


def _beta(alpha: float, count: int, generator: torch.Generator) -> Tensor:  # (count,) float64 in [0, 1]
    """Draws from Beta(alpha, alpha), as g1 / (g1 + g2) of two gamma draws.

    In logarithms, with Gamma(alpha) = Gamma(alpha + 1) * U^(1 / alpha) (Marsaglia and Tsang, 2000): for a
    small alpha both draws would otherwise underflow to 0.
    """
    shape = torch.full((2, count), alpha + 1, dtype=torch.float64)
    boosted = torch._standard_gamma(shape, generator=generator).log()
    first, second = (boosted + uniform(0, 1, 2, count, generator=generator).log() / alpha).unbind()
    return (first - second).sigmoid()
