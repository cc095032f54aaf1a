"""What is augmented at once: many small images, few large ones, and never more than so many bytes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from cifar import loader
from cifar.augmentation.augment import augment
from cifar.data.images import ImageSet
from cifar.loader import AUGMENTED_BYTES, Loader
from cifar.normalization import GIVEN_STATISTICS, normalize
from cifar.recipe import Augmentation, Recipe

NORMALIZATION = GIVEN_STATISTICS["half"]
AUGMENTATION = Augmentation(crop_padding=4, erasing=0.5, randaugment_ops=1)
ERASING = Augmentation(flip=False, crop_padding=0, erasing=1.0)

pytestmark = pytest.mark.usefixtures("one_thread")


def loader_of(count: int, side: int, batch_size: int, augmentation: Augmentation) -> Loader:
    images = torch.randint(1, 256, (count, 3, side, side), dtype=torch.uint8)
    recipe = Recipe(batch_size=batch_size, augmentation=augmentation)
    return Loader(ImageSet(images, torch.arange(count)), recipe, NORMALIZATION, seed=0)


def batches(source: Loader) -> list[tuple[Tensor, Tensor]]:
    return list(source.batches(torch.Generator().manual_seed(0)))


@pytest.fixture
def augmented(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The images of each augmentation, as it is given them."""
    given: list[Tensor] = []

    def recorded(images: Tensor, *args: Any, **options: Any) -> Tensor:
        given.append(images)
        return augment(images, *args, **options)

    monkeypatch.setattr(loader, "augment", recorded)
    return given


@pytest.mark.parametrize(("side", "batch_size"), [(224, 128), (224, 111), (96, 700), (600, 17), (2400, 2)])
def test_large_images_are_augmented_a_few_at_a_time(augmented: list[Tensor], side: int, batch_size: int) -> None:
    source = loader_of(2 * batch_size, side, batch_size, ERASING)
    found = batches(source)
    assert max(images.nbytes for images in augmented) <= max(AUGMENTED_BYTES, 3 * side**2)
    assert [tuple(images.shape) for images, _ in found] == [(batch_size, 3, side, side)] * 2
    assert sorted(torch.cat([labels for _, labels in found]).tolist()) == list(range(2 * batch_size))
    for images, labels in found:
        kept = images == normalize(source.images[labels], NORMALIZATION)
        assert (kept.float().mean((1, 2, 3)) > 0.5).all()  # each image beside its own label
        assert (kept.float().mean((1, 2, 3)) < 1).sum() > 0.9 * batch_size  # and erased by a rectangle of its own
        assert len(torch.unique(kept.flatten(1), dim=0)) > 0.9 * batch_size


@pytest.mark.parametrize("side", [8, 32])
@pytest.mark.parametrize("batch_size", [64, 128, 500, 4000])
def test_images_of_cifars_size_are_those_of_whole_chunks(side: int, batch_size: int) -> None:
    source = loader_of(4100, side, batch_size, AUGMENTATION)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(4100, generator=generator)[: 4100 // batch_size * batch_size]
    chunks = torch.split(order, max(1, 2048 // batch_size) * batch_size)
    seeds = torch.randint(2**63 - 1, (len(chunks),), generator=generator).tolist()
    expected = [
        augment(source.images[chunk], AUGMENTATION, torch.Generator().manual_seed(seed), fill=NORMALIZATION.mean_colour)
        for chunk, seed in zip(chunks, seeds, strict=True)
    ]
    found = torch.cat([images for images, _ in batches(source)])
    assert torch.equal(found, normalize(torch.cat(expected), NORMALIZATION))
