"""Pictures of a run's page."""

from __future__ import annotations

import base64
import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cifar.augmentation.augment import augment
from cifar.data.images import ImageSet
from cifar.recipe import Augmentation
from cifar.runtime.seeds import derive_seed
from search.reporting.pages.gallery import LARGEST, VERSIONS, errors, gallery_html, png, strips, strips_html, successes

NAMES = ("cat", "dog", "<b>owl")
BLACK = (0, 0, 0)


def some_images(count: int, size: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def pixels(uri: str) -> Tensor:
    """The image (3, H, W) in a data URI."""
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    return torch.from_numpy(np.array(Image.open(io.BytesIO(base64.b64decode(data))))).permute(2, 0, 1)


PROBABILITIES = torch.tensor(
    [
        [0.6, 0.3, 0.1],  # cat, right
        [0.8, 0.1, 0.1],  # dog, wrong
        [0.0, 0.999, 0.001],  # owl, wrong
        [0.2, 0.7, 0.1],  # dog, right
        [0.9, 0.05, 0.05],  # cat, right
        [0.05, 0.05, 0.9],  # owl, right
        [0.4, 0.3, 0.3],  # dog, wrong
    ]
)
TEST = ImageSet(some_images(7), torch.tensor([0, 1, 2, 1, 0, 2, 1]))


def test_the_most_confident_errors_come_first() -> None:
    pictures = errors(TEST, PROBABILITIES, NAMES)
    assert [torch.equal(pixels(p.uri), TEST.images[i]) for p, i in zip(pictures, (2, 1, 6), strict=True)] == [True] * 3
    lines = [tuple(line.replace("\u00a0", " ") for line in picture.lines) for picture in pictures]
    assert lines == [
        ("dog > 99 %", "is <b>owl < 1 %"),
        ("cat 80 %", "is dog 10 %"),
        ("cat 40 %", "is dog 30 %"),
    ]
    assert "Test image 2" in pictures[0].alt
    assert errors(TEST, PROBABILITIES, NAMES, count=1) == pictures[:1]


def test_successes_take_the_classes_in_turn() -> None:
    shown = [picture.alt.split(":")[0] for picture in successes(TEST, PROBABILITIES, NAMES)]
    assert shown == ["Test image 4", "Test image 3", "Test image 5", "Test image 0"]
    assert len(successes(TEST, PROBABILITIES, NAMES, count=2)) == 2


def test_there_may_be_nothing_to_show() -> None:
    perfect = torch.eye(3)[TEST.labels]
    assert errors(TEST, perfect, NAMES) == []
    assert successes(TEST, perfect.roll(1, dims=1), NAMES) == []


def test_strips_show_the_image_and_what_augmentation_makes_of_it() -> None:
    train = ImageSet(some_images(12), torch.tensor([2, 0, 0, 2] * 3))  # no dog
    recipe = Augmentation(crop_padding=2, cutout=3, randaugment_ops=1)
    shown = strips(train, NAMES, recipe, fill=(9, 8, 7), seed=3)
    assert [strip.label for strip in shown] == ["cat", "<b>owl"]
    originals = train.images[torch.tensor([1, 0])]
    generator = torch.Generator().manual_seed(derive_seed(3, "gallery"))
    for version in range(VERSIONS):
        expected = augment(originals, recipe, generator, fill=(9, 8, 7))
        for strip, original, changed in zip(shown, originals, expected, strict=True):
            assert len(strip.uris) == 1 + VERSIONS
            assert torch.equal(pixels(strip.uris[0]), original)
            assert torch.equal(pixels(strip.uris[1 + version]), changed)
    assert strips(train, NAMES, recipe, fill=(9, 8, 7), seed=3) == shown
    assert strips(train, NAMES, recipe, fill=(9, 8, 7), seed=4) != shown


def test_mixed_images_are_shown_mixed_and_say_so() -> None:
    train = ImageSet(torch.tensor([0, 200], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 8, 8), torch.arange(2))
    shown = strips(train, NAMES, Augmentation(flip=False, crop_padding=0, mixup=1.0), fill=BLACK)
    grey = [int(pixels(uri)[0, 0, 0]) for strip in shown for uri in strip.uris[1:]]
    assert any(0 < value < 200 for value in grey)
    assert " % cat and " in shown[0].alt or " % dog and " in shown[0].alt


def test_without_augmentation_nothing_changes() -> None:
    train = ImageSet(some_images(2), torch.arange(2))
    for strip in strips(train, NAMES, Augmentation(flip=False, crop_padding=0), fill=BLACK):
        assert set(strip.uris) == {strip.uris[0]}


def test_no_training_images_no_strips() -> None:
    assert strips(ImageSet(some_images(0), torch.zeros(0).long()), NAMES, Augmentation(), fill=BLACK) == []


def test_large_images_are_reduced() -> None:
    assert pixels(png(torch.full((3, 200, 100), 77, dtype=torch.uint8))).shape == (3, LARGEST, LARGEST // 2)
    assert (pixels(png(torch.full((3, 200, 100), 77, dtype=torch.uint8))) == 77).all()


def test_names_are_escaped() -> None:
    shown = gallery_html("Errors", "", errors(TEST, PROBABILITIES, NAMES))
    train = ImageSet(some_images(3), torch.arange(3))
    shown += strips_html("Augmented", "", strips(train, NAMES, Augmentation(), fill=BLACK))
    assert "<b>owl" not in shown
    assert "&lt;b&gt;owl" in shown
