"""Every batched operation against torchvision's, one image at a time."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.v2 import functional as reference

from cifar.augmentation import image_ops as ops

Batched = Callable[[Tensor, Tensor], Tensor]
Single = Callable[[Tensor, float], Tensor]

RANDAUGMENT, TRIVIAL = 0.9, 0.99
SIZES = [(32, 32), (16, 16)]


pytestmark = pytest.mark.usefixtures("one_thread")


def pictures(count: int, height: int = 32, width: int = 32) -> Tensor:
    """Noise, smooth pictures, greys, narrow ranges and one-level channels, in turn."""
    generator = torch.Generator().manual_seed(count)
    noise = torch.randint(0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)
    coarse = torch.rand(count, 3, 4, 4, generator=generator) * 255
    images = noise.clone()
    images[1::5] = interpolate(coarse, (height, width), mode="bilinear")[1::5].to(torch.uint8)
    images[2::5] = noise[2::5, :1]
    images[3::5] = noise[3::5] // 6 + 90
    images[4::5, 0] = noise[4::5, 0, :1, :1]
    return images


def one_by_one(operation: Single, images: Tensor, values: Tensor) -> Tensor:
    return torch.stack([operation(image, value) for image, value in zip(images, values.tolist(), strict=True)])


def assert_blended_alike(result: Tensor, expected: Tensor) -> None:
    """Equal; one level apart at most where torchvision's own kernels lack the fused multiply-add."""
    fused = torch.backends.cpu.get_cpu_capability() != "DEFAULT"
    assert (result.int() - expected.int()).abs().max() <= (0 if fused else 1)


def bins(top: float) -> Tensor:
    """31 magnitudes up to `top`, as torchvision spaces them, with both signs."""
    magnitudes = torch.linspace(0, top, 31).double()
    return torch.cat([magnitudes, -magnitudes])


def sheared(image: Tensor, x: float = 0.0, y: float = 0.0) -> Tensor:
    shear = [math.degrees(math.atan(x)), math.degrees(math.atan(y))]
    result: Tensor = reference.affine(image, angle=0.0, translate=[0, 0], scale=1.0, shear=shear, center=[0, 0])
    return result


def shifted(image: Tensor, right: float = 0, down: float = 0) -> Tensor:
    translate = [int(right), int(down)]
    result: Tensor = reference.affine(image, angle=0.0, translate=translate, scale=1.0, shear=[0.0, 0.0])
    return result


GEOMETRIC: dict[str, tuple[Batched, Single, list[float]]] = {
    "shear_x": (ops.shear_x, lambda image, slope: sheared(image, x=slope), [0.3, 0.99]),
    "shear_y": (ops.shear_y, lambda image, slope: sheared(image, y=slope), [0.3, 0.99]),
    "translate_x": (
        lambda images, by: ops.translate(images, by, torch.zeros_like(by)),
        lambda image, by: shifted(image, right=by),
        [150 / 331 * 32, 32.0],
    ),
    "translate_y": (
        lambda images, by: ops.translate(images, torch.zeros_like(by), by),
        lambda image, by: shifted(image, down=by),
        [150 / 331 * 32, 32.0],
    ),
    "rotate": (ops.rotate, reference.rotate, [20.0, 30.0, 135.0, 180.0]),
}

BLENDS: dict[str, tuple[Batched, Single]] = {
    "brightness": (ops.brightness, reference.adjust_brightness),
    "saturation": (ops.saturation, reference.adjust_saturation),
    "contrast": (ops.contrast, reference.adjust_contrast),
    "sharpness": (ops.sharpness, reference.adjust_sharpness),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", GEOMETRIC)
def test_geometry_is_torchvisions(name: str, size: tuple[int, int]) -> None:
    batched, single, tops = GEOMETRIC[name]
    values = torch.cat([bins(top) for top in tops])
    images = pictures(len(values), *size)
    result = batched(images, values)
    assert torch.equal(result, one_by_one(single, images, values))
    assert not torch.equal(result, images)


@pytest.mark.parametrize("name", GEOMETRIC)
@pytest.mark.parametrize("size", [(28, 28), (32, 24)])
def test_geometry_at_other_sizes_differs_in_few_pixels(name: str, size: tuple[int, int]) -> None:
    batched, single, tops = GEOMETRIC[name]
    values = torch.cat([bins(top) for top in tops])
    images = pictures(len(values), *size)
    differs = batched(images, values) != one_by_one(single, images, values)
    assert differs.double().mean() <= 1e-3


@pytest.mark.parametrize("degrees", [0.0, 45.0, 90.0, 180.0, 270.0, -90.0])
def test_rotation_by_quarter_turns_is_torchvisions(degrees: float) -> None:
    images = pictures(5)
    values = torch.full((5,), degrees, dtype=torch.float64)
    assert torch.equal(ops.rotate(images, values), one_by_one(reference.rotate, images, values))


@given(st.lists(st.floats(-180, 180), min_size=1, max_size=8))
@settings(max_examples=30, deadline=None)
def test_rotation_by_any_angle_is_torchvisions(degrees: list[float]) -> None:
    images, values = pictures(len(degrees)), torch.tensor(degrees, dtype=torch.float64)
    assert torch.equal(ops.rotate(images, values), one_by_one(reference.rotate, images, values))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("top", [RANDAUGMENT, TRIVIAL])
@pytest.mark.parametrize("name", BLENDS)
def test_blends_are_torchvisions(name: str, top: float, size: tuple[int, int]) -> None:
    batched, single = BLENDS[name]
    factors = 1 + bins(top)
    images = pictures(len(factors), *size)
    assert_blended_alike(batched(images, factors), one_by_one(single, images, factors))


@given(st.sampled_from(sorted(BLENDS)), st.lists(st.floats(0, 2), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_blends_by_any_factor_are_torchvisions(name: str, factors: list[float]) -> None:
    batched, single = BLENDS[name]
    images, values = pictures(len(factors)), torch.tensor(factors, dtype=torch.float64)
    assert_blended_alike(batched(images, values), one_by_one(single, images, values))


@pytest.mark.parametrize("name", BLENDS)
def test_factor_one_is_the_image(name: str) -> None:
    images = pictures(10)
    assert torch.equal(BLENDS[name][0](images, torch.ones(10, dtype=torch.float64)), images)


@pytest.mark.parametrize("size", SIZES)
def test_posterize_is_torchvisions(size: tuple[int, int]) -> None:
    bits = torch.arange(9).repeat(4)
    images = pictures(len(bits), *size)
    assert torch.equal(ops.posterize(images, bits), one_by_one(reference.posterize, images, bits))


@pytest.mark.parametrize("size", SIZES)
def test_solarize_is_torchvisions(size: tuple[int, int]) -> None:
    thresholds = torch.cat([255 * torch.linspace(1, 0, 31).double(), torch.tensor([0.5, 127.0, 127.5, 128.0])])
    images = pictures(len(thresholds), *size)
    assert torch.equal(ops.solarize(images, thresholds), one_by_one(reference.solarize, images, thresholds))


@pytest.mark.parametrize("size", [*SIZES, (28, 24), (64, 64)])
@pytest.mark.parametrize(
    ("batched", "single"),
    [(ops.autocontrast, reference.autocontrast), (ops.equalize, reference.equalize)],
    ids=["autocontrast", "equalize"],
)
def test_level_maps_are_torchvisions(
    batched: Callable[[Tensor], Tensor], single: Callable[[Tensor], Tensor], size: tuple[int, int]
) -> None:
    images = pictures(40, *size)
    result = batched(images)
    assert torch.equal(result, torch.stack([single(image) for image in images]))
    assert not torch.equal(result, images)


def test_equalize_maps_few_levels_as_torchvision_does() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    images = torch.stack(
        [
            torch.full((3, 32, 32), 7),
            levels[[0, 255]].repeat(3, 512).view(3, 32, 32),
            levels.repeat(12).view(3, 32, 32),
        ]
    ).to(torch.uint8)
    assert torch.equal(ops.equalize(images), torch.stack([reference.equalize(image) for image in images]))


def test_flip_mirrors_the_chosen_images_only() -> None:
    images = pictures(6)
    flip = torch.tensor([True, False, False, True, True, False])
    result = ops.horizontal_flip(images, flip)
    assert torch.equal(result[flip], reference.horizontal_flip(images[flip]))
    assert torch.equal(result[~flip], images[~flip])


@pytest.mark.parametrize("crop", [ops.crop, ops._crop_by_gather])
@pytest.mark.parametrize("padding", [1, 4])
@pytest.mark.parametrize("size", [*SIZES, (32, 24)])
def test_crop_is_torchvisions(
    size: tuple[int, int], padding: int, crop: Callable[[Tensor, Tensor, Tensor, int], Tensor]
) -> None:
    offsets = torch.cartesian_prod(torch.arange(2 * padding + 1), torch.arange(2 * padding + 1))
    images = pictures(len(offsets), *size)
    padded = reference.pad(images, [padding])
    expected = [
        reference.crop(image, top, left, *size) for image, (top, left) in zip(padded, offsets.tolist(), strict=True)
    ]
    top, left = offsets.T
    assert torch.equal(crop(images, top, left, padding), torch.stack(expected))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 12))
@settings(max_examples=60, deadline=None)
def test_reflecting_crops_mirror_the_image_at_its_border(height: int, width: int, padding: int) -> None:
    images = pictures(3, height, width)
    expected = numpy.pad(images.numpy(), ((0, 0), (0, 0), (padding, padding), (padding, padding)), mode="reflect")
    top, left = torch.tensor([[0, padding, 2 * padding], [2 * padding, 0, padding]])
    windows = [
        torch.from_numpy(image[:, y : y + height, x : x + width])
        for image, y, x in zip(expected, top.tolist(), left.tolist(), strict=True)
    ]
    for crop in (ops.crop, ops._crop_by_gather):
        assert torch.equal(crop(images, top, left, padding, reflect=True), torch.stack(windows))


def test_boxes_are_filled_exactly_and_clipped() -> None:
    images = pictures(4)
    boxes = torch.tensor([[2, 3, 5, 9], [-4, 30, 2, 40], [0, 0, 32, 32], [7, 7, 7, 7]])
    expected = images.clone()
    for image, (top, left, bottom, right) in zip(expected, boxes.tolist(), strict=True):
        image[:, max(top, 0) : bottom, max(left, 0) : right] = torch.tensor([[[1]], [[2]], [[3]]])
    assert torch.equal(ops.fill_boxes(images, boxes, (1, 2, 3)), expected)


EVERY: dict[str, Batched] = {
    **{name: batched for name, (batched, _, _) in GEOMETRIC.items()},
    **{name: batched for name, (batched, _) in BLENDS.items()},
    "posterize": lambda images, values: ops.posterize(images, 8 - 4 * values),
    "solarize": lambda images, values: ops.solarize(images, 255 * values),
    "autocontrast": lambda images, _: ops.autocontrast(images),
    "equalize": lambda images, _: ops.equalize(images),
    "flip": lambda images, values: ops.horizontal_flip(images, values > 0.5),
    "crop": lambda images, values: ops.crop(images, (4 * values).long(), (8 * values).long(), 4),
    "reflecting crop": lambda images, values: ops.crop(
        images, (4 * values).long(), (8 * values).long(), 4, reflect=True
    ),
    "fill_boxes": lambda images, values: ops.fill_boxes(
        images, (values[:, None] * torch.tensor([5, 9, 20, 30])).long(), (9, 8, 7)
    ),
}


@pytest.mark.parametrize("name", EVERY)
def test_input_stays_and_its_layout_does_not_matter(name: str) -> None:
    images, values = pictures(7), torch.linspace(0, 1, 7).double()
    given_images = images.clone(memory_format=torch.channels_last)
    plain = EVERY[name](images, values)
    assert torch.equal(EVERY[name](given_images, values), plain)
    assert torch.equal(images, pictures(7))
    assert torch.equal(given_images, images)
    assert plain.dtype == torch.uint8


@pytest.mark.gpu
@pytest.mark.parametrize("name", EVERY)
def test_cuda_equals_cpu_without_waiting(name: str) -> None:
    images, values = pictures(64), torch.linspace(0, 1, 64).double()
    on_gpu = images.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = EVERY[name](on_gpu, values)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(result.cpu(), EVERY[name](images, values))
