"""Training-time augmentation of whole uint8 batches, with choices of its own for each image.

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
from cifar.augmentation.draws import uniform, uniform_integer
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
    images: Tensor,
    recipe: Augmentation,
    generator: torch.Generator,
    *,
    fill: tuple[int, int, int] = BLACK,
    mirrored: Tensor | None = None,
) -> Tensor:
    """Augments each image by the recipe, in the order of its fields; what is switched off costs nothing.

    Args:
        images: uint8 (B, 3, H, W), on any device; left as they are.
        recipe: what to apply. Its mixup, cutmix and ricap are for `mixing.mix`.
        generator: a CPU generator, the source of every choice.
        fill: uint8 colour of cutout's square, usually the training mean. Erasing, and the pixels that crop,
            rotation, shear and translation bring in, are black, unless the crop reflects.
        mirrored: bool (B,) on the CPU, which images the flip mirrors; None draws them.

    Returns:
        A new uint8 tensor (B, 3, H, W) on the same device.
    """
    result = images
    if recipe.flip:
        result = ops.horizontal_flip(result, _by_chance(result, generator) if mirrored is None else mirrored)
    if recipe.crop_padding:
        result = _random_crop(result, recipe, generator)
    result = _color_jitter(result, recipe, generator)
    if recipe.rotation:
        angle = uniform(-recipe.rotation, recipe.rotation, len(images), generator=generator)
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


def _by_chance(images: Tensor, generator: torch.Generator) -> Tensor:  # (B,) bool
    return torch.rand(len(images), generator=generator) < 0.5


def _random_crop(images: Tensor, recipe: Augmentation, generator: torch.Generator) -> Tensor:
    padding = recipe.crop_padding
    top, left = torch.randint(2 * padding + 1, (2, len(images)), generator=generator)
    return ops.crop(images, top, left, padding, reflect=recipe.crop_mode == "reflect")


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
    factors = torch.stack([uniform(1 - x, 1 + x, batch, generator=generator) for _, x in active])  # (K, B)
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
    area = uniform(*recipe.erasing_area, batch, ERASING_TRIES, generator=generator) * (height * width)
    log_ratio = torch.tensor(recipe.erasing_ratio).log().tolist()
    ratio = uniform(*log_ratio, batch, ERASING_TRIES, generator=generator).exp()
    heights, widths = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()  # (B, 10)
    fits = (heights < height) & (widths < width)
    first = fits.int().argmax(dim=1, keepdim=True)
    erased = (torch.rand(batch, generator=generator) < recipe.erasing) & fits.any(dim=1)
    box_height, box_width = (sides.gather(1, first).squeeze(1) * erased for sides in (heights, widths))
    top = uniform_integer(height - box_height + 1, generator)
    left = uniform_integer(width - box_width + 1, generator)
    return torch.stack([top, left, top + box_height, left + box_width], dim=1)


def _cutout_boxes(images: Tensor, side: int, generator: torch.Generator) -> Tensor:  # (B, 4)
    """Cutout's squares (arXiv 1708.04552): the centre is any pixel, so a square may lie partly outside."""
    batch, _, height, width = images.shape
    top = torch.randint(height, (batch,), generator=generator) - side // 2
    left = torch.randint(width, (batch,), generator=generator) - side // 2
    return torch.stack([top, left, top + side, left + side], dim=1)
