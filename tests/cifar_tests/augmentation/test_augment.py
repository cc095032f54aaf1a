"""Augmentation of whole batches: what is drawn, how often, from which generator."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from cifar.augmentation import augment as augment_module
from cifar.augmentation import mixing
from cifar.augmentation.augment import OPERATIONS, augment, magnitude_table
from cifar.augmentation.mixing import mix
from cifar.recipe import Augmentation

OFF = Augmentation(flip=False, crop_padding=0)
MIXING = [
    dataclasses.replace(OFF, mixup=0.2),
    dataclasses.replace(OFF, cutmix=1.0),
    dataclasses.replace(OFF, ricap=0.3),
]
EACH = {
    "flip": dataclasses.replace(OFF, flip=True),
    "crop": dataclasses.replace(OFF, crop_padding=4),
    "reflecting crop": dataclasses.replace(OFF, crop_padding=4, crop_mode="reflect"),
    "jitter": dataclasses.replace(OFF, brightness=0.2, contrast=0.3, saturation=0.4),
    "rotation": dataclasses.replace(OFF, rotation=20.0),
    "randaugment": dataclasses.replace(OFF, randaugment_ops=2),
    "trivial_augment": dataclasses.replace(OFF, trivial_augment=True),
    "erasing": dataclasses.replace(OFF, erasing=0.5),
    "cutout": dataclasses.replace(OFF, cutout=8),
}
ALL = Augmentation(
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    rotation=15.0,
    randaugment_ops=2,
    trivial_augment=True,
    erasing=0.5,
    cutout=8,
)


pytestmark = pytest.mark.usefixtures("one_thread")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(size: int = 32) -> Tensor:
    """One colourful picture without symmetries, (3, size, size)."""
    ramp = torch.arange(size, dtype=torch.float64) / size
    red = 40 + 90 * ramp[:, None] + 60 * ramp
    green = 200 - 120 * ramp[:, None] * ramp
    blue = 30 + 100 * (3 * ramp[:, None] + 5 * ramp).sin().abs()
    return torch.stack([red, green.expand(size, size), blue]).to(torch.uint8)


def copies(count: int, size: int = 32) -> Tensor:
    return picture(size).repeat(count, 1, 1, 1)


def distinct(images: Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def assert_share(hits: int, count: int, probability: float) -> None:
    """Within five standard deviations of a binomial draw."""
    deviation = (count * probability * (1 - probability)) ** 0.5
    assert abs(hits - count * probability) <= 5 * deviation


# What holds for every augmentation


@pytest.mark.parametrize("name", EACH)
def test_each_image_is_drawn_for_itself(name: str) -> None:
    expected = {
        "flip": 2,
        "crop": 75,
        "reflecting crop": 75,
        "jitter": 200,
        "rotation": 100,
        "randaugment": 80,
        "erasing": 70,
        "cutout": 140,
    }
    assert len(distinct(augment(copies(256), EACH[name], seeded()))) >= expected.get(name, 100)


@pytest.mark.parametrize("recipe", [*EACH.values(), ALL], ids=[*EACH, "all"])
def test_the_generator_decides_everything(recipe: Augmentation) -> None:
    images, state = copies(64), torch.get_rng_state()
    first, again = augment(images, recipe, seeded(3)), augment(images, recipe, seeded(3))
    assert torch.equal(first, again)
    assert not torch.equal(first, augment(images, recipe, seeded(4)))
    assert torch.equal(torch.get_rng_state(), state)


@given(
    st.sampled_from([*EACH.values(), ALL]),
    st.integers(1, 6),
    st.sampled_from([16, 32]),
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_shape_type_and_input_are_kept(
    recipe: Augmentation, batch: int, size: int, one: int, other: int, seed: int
) -> None:
    low, high = sorted((one, other))
    images = torch.randint(low, high + 1, (batch, 3, size, size), generator=seeded(seed), dtype=torch.uint8)
    before = images.clone()
    result = augment(images, recipe, seeded(seed), fill=(1, 2, 3))
    assert result.shape == images.shape
    assert result.dtype == torch.uint8
    assert torch.equal(images, before)
    assert result.data_ptr() != images.data_ptr()


def test_nothing_on_gives_a_copy_and_draws_nothing() -> None:
    images, generator = copies(4), seeded()
    result = augment(images, OFF, generator)
    assert torch.equal(result, images)
    assert result.data_ptr() != images.data_ptr()
    assert torch.equal(generator.get_state(), seeded().get_state())


def test_the_number_of_threads_is_left_as_it_was() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        augment(copies(2), ALL, seeded())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_layout_of_the_input_does_not_matter() -> None:
    images = copies(32)
    channels_last = images.to(memory_format=torch.channels_last)
    assert torch.equal(augment(channels_last, ALL, seeded()), augment(images, ALL, seeded()))


def test_order_is_that_of_the_fields() -> None:
    result = augment(copies(64), dataclasses.replace(OFF, erasing=1.0, cutout=32), seeded(), fill=(9, 8, 7))
    painted = (result == torch.tensor([9, 8, 7], dtype=torch.uint8).view(3, 1, 1)).all(dim=1)
    assert (painted.flatten(1).sum(1) >= 16 * 16).all()


# Flip, crop, colour jitter, rotation


def test_half_of_the_images_are_flipped() -> None:
    result = augment(copies(2000), EACH["flip"], seeded())
    flipped = (result == picture().flip(-1)).flatten(1).all(1)
    assert_share(int(flipped.sum()), 2000, 0.5)
    assert torch.equal(result[~flipped], copies(int((~flipped).sum())))


def test_given_images_are_mirrored_and_nothing_is_drawn() -> None:
    mirrored = torch.tensor([True, False, True])
    generator = seeded()
    state = generator.get_state()
    result = augment(copies(3), EACH["flip"], generator, mirrored=mirrored)
    assert torch.equal(result, torch.where(mirrored.view(3, 1, 1, 1), copies(3).flip(-1), copies(3)))
    assert torch.equal(generator.get_state(), state)


def test_crops_are_uniform_over_all_offsets() -> None:
    result = augment(copies(8100), EACH["crop"], seeded())
    padded = reference.pad(picture(), [4])
    counts = [
        int((result == padded[:, top : top + 32, left : left + 32]).flatten(1).all(1).sum())
        for top in range(9)
        for left in range(9)
    ]
    assert sum(counts) == 8100
    for count in counts:
        assert_share(count, 8100, 1 / 81)


@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_jitter_factors_are_uniform_around_one(strength: float) -> None:
    images = torch.full((3000, 3, 8, 8), 100, dtype=torch.uint8)
    result = augment(images, dataclasses.replace(OFF, brightness=strength), seeded())[:, 0, 0, 0].double()
    assert result.min() >= 100 * (1 - strength) - 1
    assert result.max() <= 100 * (1 + strength)
    for quarter in (0.25, 0.5, 0.75):
        limit = 100 * (1 - strength + 2 * strength * quarter)
        assert_share(int((result < limit).sum()), 3000, quarter)


def test_jitter_applies_each_kind_once_in_every_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def greatest(low: float, high: float, *shape: int, generator: torch.Generator) -> Tensor:
        return torch.full(shape, high, dtype=torch.float64)

    monkeypatch.setattr(augment_module, "uniform", greatest)
    adjustments: list[Callable[[Tensor], Tensor]] = [
        lambda image: reference.adjust_brightness(image, 1.3),
        lambda image: reference.adjust_contrast(image, 1.6),
        lambda image: reference.adjust_saturation(image, 1.9),
    ]
    expected = set()
    for first, second, third in permutations(adjustments):
        expected |= distinct(third(second(first(picture()))).unsqueeze(0))
    recipe = dataclasses.replace(OFF, brightness=0.3, contrast=0.6, saturation=0.9)
    assert distinct(augment(copies(200), recipe, seeded())) == expected
    assert len(expected) == 6


def test_rotation_angles_fill_their_range() -> None:
    spoke = torch.zeros(2000, 3, 32, 32, dtype=torch.uint8)
    spoke[..., 14:18, 26:30] = 255
    mass = augment(spoke, EACH["rotation"], seeded())[:, 0].double()
    position = torch.arange(32, dtype=torch.float64) - 15.5
    x, y = (mass.sum(1) @ position) / mass.sum((1, 2)), (mass.sum(2) @ position) / mass.sum((1, 2))
    degrees = torch.rad2deg(torch.atan2(-y, x))
    assert degrees.abs().max() <= 22
    for quarter in (0.25, 0.5, 0.75):
        assert_share(int((degrees < -20 + 40 * quarter).sum()), 2000, quarter)


# RandAugment and TrivialAugmentWide, against torchvision's own transforms


@pytest.mark.parametrize("magnitude", [0, 9, 30])
def test_randaugment_gives_what_torchvisions_gives(magnitude: int) -> None:
    theirs = v2.RandAugment(num_ops=1, magnitude=magnitude)
    recipe = dataclasses.replace(OFF, randaugment_ops=1, randaugment_magnitude=magnitude)
    expected = distinct(torch.stack([theirs(picture()) for _ in range(400)]))
    assert distinct(augment(copies(2000), recipe, seeded())) == expected


def test_two_operations_are_two_rounds_of_one() -> None:
    once = dataclasses.replace(OFF, randaugment_ops=1)
    generator = seeded()
    twice = augment(augment(copies(100), once, generator), once, generator)
    assert torch.equal(augment(copies(100), EACH["randaugment"], seeded()), twice)


def test_trivial_augment_gives_what_torchvisions_gives() -> None:
    theirs = v2.TrivialAugmentWide()
    ours = distinct(augment(copies(15_000), EACH["trivial_augment"], seeded()))
    sample = distinct(torch.stack([theirs(picture()) for _ in range(500)]))
    assert sample <= ours
    assert len(ours) <= 14 * 62


def test_operations_are_equally_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = [0] * len(OPERATIONS)

    def counting(index: int) -> augment_module.Operation:
        def count(images: Tensor, magnitude: Tensor) -> Tensor:
            counts[index] += len(images)
            assert len(magnitude) == len(images)
            return images

        return dataclasses.replace(OPERATIONS[index], apply=count)

    monkeypatch.setattr(augment_module, "OPERATIONS", tuple(map(counting, range(len(OPERATIONS)))))
    augment(copies(3500), EACH["randaugment"], seeded())
    assert sum(counts) == 7000
    for count in counts:
        assert_share(count, 7000, 1 / 14)


def test_signs_and_bins_are_equally_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, list[float]] = {operation.name: [] for operation in OPERATIONS}

    def recording(operation: augment_module.Operation) -> augment_module.Operation:
        def record(images: Tensor, magnitude: Tensor) -> Tensor:
            drawn[operation.name] += magnitude.tolist()
            return images

        return dataclasses.replace(operation, apply=record)

    monkeypatch.setattr(augment_module, "OPERATIONS", tuple(map(recording, OPERATIONS)))
    augment(copies(14 * 31 * 20, size=8), EACH["trivial_augment"], seeded())
    table = magnitude_table(8, 8, wide=True)
    for operation, magnitudes in zip(OPERATIONS, table.tolist(), strict=True):
        values = drawn[operation.name]
        assert {abs(value) for value in values} == {abs(value) for value in magnitudes}
        negative = sum(value < 0 for value in values)
        assert_share(negative, len(values), 0.5 * 30 / 31 if operation.signed else 0.0)


def test_images_keep_their_places_between_groups() -> None:
    levels = torch.arange(100, dtype=torch.uint8).view(100, 1, 1, 1).expand(-1, 3, 4, 4)
    choice = torch.randint(3, (100,), generator=seeded())
    values = torch.arange(100).double()
    result = augment_module._apply_by_group(
        levels,
        choice,
        values,
        [
            lambda images, _: images,
            lambda images, _: images + 100,
            lambda images, own: own.to(torch.uint8).view(-1, 1, 1, 1).expand_as(images) * 2,
        ],
    )
    position = torch.arange(100)
    expected = torch.stack([position, position + 100, position * 2])[choice, position]
    assert torch.equal(result[:, 0, 0, 0].long(), expected)


# Erasing and cutout


def boxes_of(painted: Tensor) -> Tensor:
    """Height and width of the true rectangle in each mask (B, H, W); checks that it is a full rectangle."""
    heights, widths = painted.any(2).sum(1), painted.any(1).sum(1)
    assert torch.equal(painted.flatten(1).sum(1), heights * widths)
    return torch.stack([heights, widths], dim=1)


@pytest.mark.parametrize("probability", [0.25, 1.0])
def test_erasing_draws_rectangles_of_the_given_size(probability: float) -> None:
    white = torch.full((4000, 3, 32, 32), 255, dtype=torch.uint8)
    result = augment(white, dataclasses.replace(OFF, erasing=probability), seeded(), fill=(9, 9, 9))
    assert set(result.unique().tolist()) == {0, 255}  # type: ignore[no-untyped-call]
    boxes = boxes_of((result == 0).all(1))
    erased = boxes[boxes[:, 0] > 0]
    assert_share(len(erased), 4000, probability)
    areas = erased.prod(1)
    assert areas.min() >= 15
    assert areas.max() <= 360
    assert_share(int((areas < 0.175 * 1024).sum()), len(areas), 0.5)
    assert erased.max() < 32
    taller, wider = int((erased[:, 0] > erased[:, 1]).sum()), int((erased[:, 0] < erased[:, 1]).sum())
    assert_share(taller, taller + wider, 0.5)


def test_erasing_sizes_follow_the_recipe() -> None:
    white = torch.full((500, 3, 32, 32), 255, dtype=torch.uint8)
    recipe = dataclasses.replace(OFF, erasing=1.0, erasing_area=(0.125, 0.125), erasing_ratio=(2.0, 2.0))
    boxes = boxes_of((augment(white, recipe, seeded()) == 0).all(1))
    assert torch.equal(boxes, torch.tensor([16, 8]).expand(500, 2))


def test_erasing_places_are_uniform() -> None:
    white = torch.full((5000, 3, 32, 32), 255, dtype=torch.uint8)
    recipe = dataclasses.replace(OFF, erasing=1.0, erasing_area=(0.25, 0.25), erasing_ratio=(1.0, 1.0))
    erased = (augment(white, recipe, seeded()) == 0).all(1)
    tops, lefts = erased.any(2).int().argmax(1), erased.any(1).int().argmax(1)
    for offsets in (tops, lefts):
        for count in offsets.bincount(minlength=17).tolist():
            assert_share(count, 5000, 1 / 17)


def test_erasing_that_never_fits_leaves_the_image() -> None:
    recipe = dataclasses.replace(OFF, erasing=1.0, erasing_area=(1.0, 1.0), erasing_ratio=(1.0, 1.0))
    assert torch.equal(augment(copies(20), recipe, seeded()), copies(20))


@pytest.mark.parametrize("side", [1, 7, 8])
def test_cutout_is_a_square_clipped_at_the_border(side: int) -> None:
    result = augment(copies(4000), dataclasses.replace(OFF, cutout=side), seeded(), fill=(250, 0, 251))
    painted = (result == torch.tensor([250, 0, 251], dtype=torch.uint8).view(3, 1, 1)).all(1)
    boxes = boxes_of(painted)
    assert boxes.min() == side - side // 2
    assert boxes.max() == side
    assert_share(int((boxes == side).all(1).sum()), 4000, ((32 - side + 1) / 32) ** 2)
    assert torch.equal(torch.where(painted.unsqueeze(1), picture(), result), copies(4000))


# Mixup, CutMix and RICAP


def own_colours(batch: int, size: int = 32) -> tuple[Tensor, Tensor]:
    """Images whose every pixel is the image's number, and one class an image."""
    images = torch.arange(batch, dtype=torch.float32).view(batch, 1, 1, 1).repeat(1, 3, size, size)
    return images, torch.eye(batch)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_mixup_mixes_images_and_targets_alike(alpha: float) -> None:
    images, targets = own_colours(64)
    mixed, mixed_targets = mix(images, targets, dataclasses.replace(OFF, mixup=alpha), seeded())
    expected = mixed_targets @ torch.arange(64, dtype=torch.float32)
    torch.testing.assert_close(mixed, expected.view(-1, 1, 1, 1).expand_as(mixed), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(mixed_targets.sum(1), torch.ones(64))
    assert len(mixed_targets.diagonal().unique()) > 55  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("size", [16, 32])
def test_cutmix_share_is_the_exact_area(size: int) -> None:
    images, targets = own_colours(200, size)
    mixed, mixed_targets = mix(images, targets, dataclasses.replace(OFF, cutmix=1.0), seeded())
    shares = torch.stack([(mixed[:, 0] == number).double().mean((1, 2)) for number in range(200)], dim=1)
    torch.testing.assert_close(mixed_targets.double(), shares, atol=1e-6, rtol=0)
    assert torch.equal(mixed[:, 0], mixed[:, 2])
    assert len(mixed_targets.diagonal().unique()) > 40  # type: ignore[no-untyped-call]


def test_partners_are_a_permutation() -> None:
    images, targets = own_colours(50)
    _, mixed = mix(images, targets, dataclasses.replace(OFF, mixup=1.0), seeded())
    partners = (mixed - torch.diag(mixed.diagonal())).argmax(1)
    assert len(partners[mixed.diagonal() < 1].unique()) >= 48  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 4.0])
def test_shares_are_beta_distributed(alpha: float) -> None:
    draws = mixing._beta(alpha, 20_000, seeded())
    expected = torch.distributions.Beta(alpha, alpha)
    assert draws.isfinite().all()
    assert 0 <= draws.min() <= draws.max() <= 1
    assert abs(draws.mean() - 0.5) < 5 * (expected.variance / 20_000) ** 0.5
    assert abs(draws.var() / expected.variance - 1) < 0.05
    theirs = expected.sample((20_000,)).double()
    for quantile in (0.1, 0.3, 0.5, 0.7, 0.9) if alpha >= 0.2 else ():
        assert (draws.quantile(quantile) - theirs.quantile(quantile)).abs() < 0.05


def test_cutmix_areas_follow_the_share() -> None:
    share = torch.full((1000,), 0.75, dtype=torch.float64)
    boxes = mixing._cutmix_boxes(32, 32, share, seeded())
    sides = boxes[:, 2:] - boxes[:, :2]
    assert sides.max() == 16
    assert boxes.min() >= 0
    assert boxes.max() <= 32
    assert_share(int((sides == 16).all(1).sum()), 1000, (17 / 32) ** 2)


def test_both_on_take_turns_by_chance() -> None:
    recipe = dataclasses.replace(OFF, mixup=1.0, cutmix=1.0)
    images, targets = own_colours(4, 16)
    generator = seeded()
    averaged = 0
    for _ in range(300):
        mixed, _ = mix(images, targets, recipe, generator)
        averaged += int((mixed != mixed.round()).any())
    assert 90 <= averaged <= 190


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 12), st.floats(0.05, 4), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_ricap_shares_are_the_exact_areas_of_four_patches(
    batch: int, height: int, width: int, beta: float, seed: int
) -> None:
    """Each pixel says its image, row and column, so that every patch shows where it was cut."""
    number, row, column = torch.meshgrid(*(torch.arange(n) for n in (batch, height, width)), indexing="ij")
    images = torch.stack([number, row, column], dim=1).float()  # (B, 3, H, W)
    mixed, targets = mix(images, torch.eye(batch), dataclasses.replace(OFF, ricap=beta), seeded(seed))
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    areas = torch.stack([(mixed[:, 0] == k).double().mean((1, 2)) for k in range(batch)], dim=1)
    torch.testing.assert_close(targets.double(), areas, atol=1e-6, rtol=0)
    torch.testing.assert_close(targets.sum(1), torch.ones(batch))
    for axis, place in ((1, row), (2, column)):  # a patch is its source, moved by so many rows and columns
        moved = (mixed[:, axis].long() - place).flatten(1)
        assert all(len(set(by.tolist())) <= 4 for by in moved)


def test_ricap_patches_meet_where_beta_says() -> None:
    images, targets = torch.arange(3000.0).view(-1, 1, 1, 1).repeat(1, 3, 32, 32), torch.zeros(3000, 2)
    mixed, _ = mix(images, targets, dataclasses.replace(OFF, ricap=0.3), seeded())
    side = torch.where(mixed[:, 0] == images[:, 0], 1.0, 0.0)
    wide = side[:, 0].sum(1)  # columns of the first patch, the image's own, where it has a row
    theirs = (32 * torch.distributions.Beta(0.3, 0.3).sample((100_000,))).round()
    has_row = side[:, 0, 0] > 0
    empty = (theirs == 0).double().mean().item()
    assert_share(int(has_row.sum()), 3000, (1 - empty) ** 2)
    assert wide[has_row].mean().item() == pytest.approx(theirs[theirs > 0].mean().item(), rel=0.05)


@pytest.mark.parametrize("probability", [0.25, 0.9])
def test_as_many_batches_are_mixed_as_asked(probability: float) -> None:
    images, targets = own_colours(4, 16)
    generator = seeded()
    recipe = dataclasses.replace(OFF, mixup=1.0, mixing_probability=probability)
    mixed = sum(mix(images, targets, recipe, generator)[1] is not targets for _ in range(1000))
    assert_share(mixed, 1000, probability)


@given(
    st.integers(1, 8),
    st.sampled_from([16, 32]),
    st.floats(0.05, 4),
    st.sampled_from(["mixup", "cutmix", "ricap"]),
    st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_mixed_targets_stay_probabilities(batch: int, size: int, alpha: float, method: str, seed: int) -> None:
    recipe = dataclasses.replace(OFF, **{method: alpha})  # type: ignore[arg-type]
    images = torch.randn(batch, 3, size, size, generator=seeded(seed))
    targets = torch.rand(batch, 10, generator=seeded(seed)).softmax(1)
    before = images.clone(), targets.clone()
    mixed, mixed_targets = mix(images, targets, recipe, seeded(seed))
    assert mixed.shape == images.shape
    assert mixed.dtype == images.dtype
    assert (mixed_targets >= 0).all()
    torch.testing.assert_close(mixed_targets.sum(1), torch.ones(batch))
    assert torch.equal(images, before[0])
    assert torch.equal(targets, before[1])
    again = mix(images, targets, recipe, seeded(seed))
    assert torch.equal(again[0], mixed)
    assert torch.equal(again[1], mixed_targets)


def test_mixing_off_gives_back_what_was_given() -> None:
    images, targets = own_colours(4)
    mixed, mixed_targets = mix(images, targets, OFF, seeded())
    assert mixed is images
    assert mixed_targets is targets


@pytest.mark.parametrize("recipe", MIXING)
def test_mixing_keeps_channels_last_and_the_global_generator(recipe: Augmentation) -> None:
    images, targets = own_colours(8)
    state = torch.get_rng_state()
    mixed, _ = mix(images.to(memory_format=torch.channels_last), targets, recipe, seeded())
    assert mixed.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(torch.get_rng_state(), state)


# Another device


@pytest.mark.parametrize("recipe", [*EACH.values(), ALL], ids=[*EACH, "all"])
def test_nothing_is_read_back_from_the_images(recipe: Augmentation) -> None:
    # meta tensors have no values: whatever would wait for a GPU's fails on them
    images = torch.empty(64, 3, 32, 32, dtype=torch.uint8, device="meta")
    changed = augment(images, recipe, torch.Generator().manual_seed(0))
    assert changed.device.type == "meta"
    assert changed.shape == images.shape
    targets = torch.empty(64, 10, device="meta")
    for mixing_recipe in MIXING:
        mixed, mixed_targets = mix(images.float(), targets, mixing_recipe, torch.Generator().manual_seed(0))
        assert mixed.shape == images.shape
        assert mixed_targets.shape == targets.shape


@pytest.mark.gpu
@pytest.mark.parametrize("recipe", [*EACH.values(), ALL], ids=[*EACH, "all"])
def test_cuda_gives_the_cpus_images_without_waiting(recipe: Augmentation) -> None:
    images = torch.randint(0, 256, (512, 3, 32, 32), generator=seeded(), dtype=torch.uint8)
    on_gpu = images.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        result = augment(on_gpu, recipe, seeded(), fill=(1, 2, 3))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(result.cpu(), augment(images, recipe, seeded(), fill=(1, 2, 3)))


@pytest.mark.gpu
@pytest.mark.parametrize("recipe", MIXING)
def test_cuda_mixes_as_the_cpu_does(recipe: Augmentation) -> None:
    images, targets = own_colours(64)
    on_gpu = images.cuda(), targets.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        mixed, mixed_targets = mix(*on_gpu, recipe, seeded())
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected, expected_targets = mix(images, targets, recipe, seeded())
    torch.testing.assert_close(mixed.cpu(), expected)
    torch.testing.assert_close(mixed_targets.cpu(), expected_targets)
