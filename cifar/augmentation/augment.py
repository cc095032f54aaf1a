"""Training-time augmentation of whole uint8 batches, drawn anew for each image.

Every random choice is drawn on the CPU, from the caller's generator and no other: one seed gives the same
pictures on every device, and images are grouped by operation without asking the device anything. The
operations are torchvision's, pixel for pixel (`cifar.augmentation.image_ops`).

Images/s on one core, 1,024 images of 32x32 at a time: flip and crop 300,000, with RandAugment(2, 9) and
erasing 30,000; 128 at a time, the latter 20,000.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from cifar.augmentation import image_ops as ops
from cifar.augmentation.image_ops import on_device
from cifar.recipe import Augmentation
from cifar.runtime.threads import one_thread

BLACK = (0, 0, 0)
MAGNITUDE_BINS = 31
ERASING_TRIES = 10

Transform = Callable[[Tensor, Tensor], Tensor]
"""From uint8 images (B, 3, H, W) and one float64 parameter an image (B,), on the CPU, to new images."""


@dataclass(frozen=True)
class Operation:
    """One of the operations RandAugment and TrivialAugment choose from."""

    name: str
    """Its name in torchvision."""
    apply: Transform
    """The operation, at a magnitude an image."""
    signed: bool = False
    """Whether the magnitude is negated half of the time."""


OPERATIONS = (
    Operation("Identity", lambda images, _: images),
    Operation("ShearX", ops.shear_x, signed=True),
    Operation("ShearY", ops.shear_y, signed=True),
    Operation("TranslateX", lambda images, by: ops.translate(images, by, torch.zeros_like(by)), signed=True),
    Operation("TranslateY", lambda images, by: ops.translate(images, torch.zeros_like(by), by), signed=True),
    Operation("Rotate", ops.rotate, signed=True),
    Operation("Brightness", lambda images, change: ops.brightness(images, 1 + change), signed=True),
    Operation("Color", lambda images, change: ops.saturation(images, 1 + change), signed=True),
    Operation("Contrast", lambda images, change: ops.contrast(images, 1 + change), signed=True),
    Operation("Sharpness", lambda images, change: ops.sharpness(images, 1 + change), signed=True),
    Operation("Posterize", ops.posterize),
    Operation("Solarize", lambda images, fraction: ops.solarize(images, 255 * fraction)),
    Operation("AutoContrast", lambda images, _: ops.autocontrast(images)),
    Operation("Equalize", lambda images, _: ops.equalize(images)),
)
"""What torchvision's RandAugment (arXiv 1909.13719) and TrivialAugmentWide (arXiv 2103.10158) choose from."""


@one_thread()
def augment(
    images: Tensor, recipe: Augmentation, generator: torch.Generator, *, fill: tuple[int, int, int] = BLACK
) -> Tensor:
    """Augments each image by the recipe, in the order of its fields; what is switched off costs nothing.

    Args:
        images: uint8 (B, 3, H, W), on any device; left as they are.
        recipe: what to apply. Its mixup and cutmix are for `mix`.
        generator: a CPU generator, the source of every choice.
        fill: uint8 colour of cutout's square, usually the training mean. Erasing, and the pixels that crop,
            rotation, shear and translation bring in, are black.

    Returns:
        A new uint8 tensor (B, 3, H, W) on the same device.
    """
    result = images
    if recipe.flip:
        result = _random_flip(result, generator)
    if recipe.crop_padding:
        result = _random_crop(result, recipe.crop_padding, generator)
    result = _color_jitter(result, recipe, generator)
    if recipe.rotation:
        angle = _uniform(-recipe.rotation, recipe.rotation, len(images), generator=generator)
        result = ops.rotate(result, angle)
    for _ in range(recipe.randaugment_ops):
        magnitude_bin = torch.full((len(images),), recipe.randaugment_magnitude)
        result = _random_operation(result, magnitude_bin, generator, wide=False)
    if recipe.trivial_augment:
        magnitude_bin = torch.randint(MAGNITUDE_BINS, (len(images),), generator=generator)
        result = _random_operation(result, magnitude_bin, generator, wide=True)
    if recipe.erasing:
        result = ops.fill_boxes(result, _erasing_boxes(result, recipe, generator), BLACK)
    if recipe.cutout:
        result = ops.fill_boxes(result, _cutout_boxes(result, recipe.cutout, generator), fill)
    return result.clone() if result is images else result


def _uniform(low: float, high: float, *shape: int, generator: torch.Generator) -> Tensor:
    return torch.empty(shape, dtype=torch.float64).uniform_(low, high, generator=generator)


def _uniform_integer(below: Tensor, generator: torch.Generator) -> Tensor:
    """An integer in 0..below - 1 for each element of `below`."""
    return (_uniform(0, 1, *below.shape, generator=generator) * below).long()


def _random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    return ops.horizontal_flip(images, torch.rand(len(images), generator=generator) < 0.5)


def _random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    top, left = torch.randint(2 * padding + 1, (2, len(images)), generator=generator)
    return ops.crop(images, top, left, padding)


def _color_jitter(images: Tensor, recipe: Augmentation, generator: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation by random factors, in an order drawn for each image."""
    jitters = (
        (ops.brightness, recipe.brightness),
        (ops.contrast, recipe.contrast),
        (ops.saturation, recipe.saturation),
    )
    active = [(transform, strength) for transform, strength in jitters if strength]
    if not active:
        return images
    batch = len(images)
    factors = torch.stack([_uniform(1 - x, 1 + x, batch, generator=generator) for _, x in active])  # (K, B)
    orders = torch.rand(len(active), batch, generator=generator).argsort(dim=0)  # (K, B)
    for choice, factor in zip(orders, factors.gather(0, orders), strict=True):
        images = _apply_by_group(images, choice, factor, [transform for transform, _ in active])
    return images


def _apply_by_group(images: Tensor, choice: Tensor, values: Tensor, transforms: Sequence[Transform]) -> Tensor:
    """Applies transforms[choice[b]], with parameter values[b], to each image b: one call a transform.

    Args:
        images: uint8 (B, 3, H, W).
        choice: int64 (B,) on the CPU.
        values: float64 (B,) on the CPU.
        transforms: what to choose from.
    """
    order = choice.argsort(stable=True)
    sizes = choice.bincount(minlength=len(transforms)).tolist()
    groups = images.index_select(0, on_device(order, images.device)).split_with_sizes(sizes)
    parameters = values[order].split_with_sizes(sizes)
    changed = [
        transform(group, own)
        for transform, group, own in zip(transforms, groups, parameters, strict=True)
        if len(group)
    ]
    return torch.cat(changed).index_select(0, on_device(order.argsort(), images.device))


def _random_operation(
    images: Tensor, magnitude_bin: Tensor, generator: torch.Generator, *, wide: bool
) -> Tensor:  # (B, 3, H, W)
    """One of `OPERATIONS` an image, each as likely, at the strength of its bin."""
    batch = len(images)
    choice = torch.randint(len(OPERATIONS), (batch,), generator=generator)
    negated = torch.rand(batch, generator=generator) < 0.5
    signed = torch.tensor([operation.signed for operation in OPERATIONS])[choice]
    magnitude = magnitude_table(*images.shape[-2:], wide=wide)[choice, magnitude_bin]
    magnitude = torch.where(negated & signed, -magnitude, magnitude)
    return _apply_by_group(images, choice, magnitude, [operation.apply for operation in OPERATIONS])


@cache
def magnitude_table(height: int, width: int, *, wide: bool) -> Tensor:
    """Magnitude of each operation (row, in the order of `OPERATIONS`) in torchvision's 31 bins (columns).

    Args:
        height: rows of an image.
        width: columns of an image.
        wide: TrivialAugmentWide's ranges (arXiv 2103.10158); otherwise RandAugment's.
    """
    shear, turn, change, lost_bits = (0.99, 135.0, 0.99, 6) if wide else (0.3, 30.0, 0.9, 4)
    right, down = (32.0, 32.0) if wide else (150 / 331 * width, 150 / 331 * height)
    tops = (0.0, shear, shear, right, down, turn, change, change, change, change)
    rising = [torch.linspace(0, top, MAGNITUDE_BINS) for top in tops]
    bits = (8 - torch.arange(MAGNITUDE_BINS) / ((MAGNITUDE_BINS - 1) / lost_bits)).round()
    threshold = torch.linspace(1, 0, MAGNITUDE_BINS)
    unused = torch.zeros(MAGNITUDE_BINS)
    return torch.stack([*rising, bits, threshold, unused, unused]).double()


def _erasing_boxes(images: Tensor, recipe: Augmentation, generator: torch.Generator) -> Tensor:  # (B, 4)
    """Random erasing's rectangles (arXiv 1708.04896): the first of ten draws that fits, or else empty."""
    batch, _, height, width = images.shape
    area = _uniform(*recipe.erasing_area, batch, ERASING_TRIES, generator=generator) * (height * width)
    log_ratio = torch.tensor(recipe.erasing_ratio).log().tolist()
    ratio = _uniform(*log_ratio, batch, ERASING_TRIES, generator=generator).exp()
    heights, widths = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()  # (B, 10)
    fits = (heights < height) & (widths < width)
    first = fits.int().argmax(dim=1, keepdim=True)
    erased = (torch.rand(batch, generator=generator) < recipe.erasing) & fits.any(dim=1)
    box_height, box_width = (sides.gather(1, first).squeeze(1) * erased for sides in (heights, widths))
    top = _uniform_integer(height - box_height + 1, generator)
    left = _uniform_integer(width - box_width + 1, generator)
    return torch.stack([top, left, top + box_height, left + box_width], dim=1)


def _cutout_boxes(images: Tensor, side: int, generator: torch.Generator) -> Tensor:  # (B, 4)
    """Cutout's squares (arXiv 1708.04552): the centre is any pixel, so a square may lie partly outside."""
    batch, _, height, width = images.shape
    top = torch.randint(height, (batch,), generator=generator) - side // 2
    left = torch.randint(width, (batch,), generator=generator) - side // 2
    return torch.stack([top, left, top + side, left + side], dim=1)


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
    pasted = ops.box_mask(boxes, height, width, images.device)
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
    first, second = (boosted + _uniform(0, 1, 2, count, generator=generator).log() / alpha).unbind()
    return (first - second).sigmoid()
