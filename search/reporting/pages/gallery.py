"""Pictures of a run's page: errors, successes, and what augmentation makes of training images.

Pictures are PNGs inside the page, of the image's own pixels; the browser enlarges them without smoothing.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import zip_longest

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from cifar.augmentation.augment import augment
from cifar.augmentation.mixing import mix
from cifar.data.images import ImageSet
from cifar.recipe import Augmentation
from cifar.runtime.seeds import derive_seed
from search.format import format_percent, format_probability

ERRORS = 30
"""Misclassified images on a page."""
SUCCESSES = 20
"""Correctly classified images on a page."""
SAMPLED_CLASSES = 10
"""Most classes of which an augmented training image is shown."""
VERSIONS = 6
"""Augmented versions of each training image."""
LARGEST = 64
"""Side in pixels to which larger images are reduced, so that a page stays small."""


@dataclass(frozen=True)
class Picture:
    """An image and the words below it."""

    uri: str
    """The PNG as a data URI."""
    alt: str
    """What a reader without the picture needs to know."""
    lines: tuple[str, str]
    """Two short lines: the more important one first."""


@dataclass(frozen=True)
class Strip:
    """A training image and augmented versions of it."""

    label: str
    """The image's class."""
    alt: str
    """What a reader without the pictures needs to know."""
    uris: tuple[str, ...]
    """PNGs as data URIs; the first is the image itself."""
    words: tuple[str, ...] = ()
    """Classes of each version but the image itself, with their shares where it is mixed; empty where none is."""


# ---- test images


def errors(test: ImageSet, probabilities: Tensor, class_names: Sequence[str], count: int = ERRORS) -> list[Picture]:
    """The misclassified images, the highest confidence first.

    Args:
        test: N images.
        probabilities: float (N, C) on the CPU.
        class_names: C names.
        count: most images to return.
    """
    confidence, predicted = probabilities.max(dim=1)
    wrong = (predicted != test.labels).nonzero().flatten()
    chosen = wrong[confidence[wrong].argsort(descending=True, stable=True)][:count]
    return [_error(index, test, probabilities[index], class_names) for index in chosen.tolist()]


def successes(
    test: ImageSet, probabilities: Tensor, class_names: Sequence[str], count: int = SUCCESSES
) -> list[Picture]:
    """Correctly classified images: of each class in turn, the most confident first.

    Args:
        test: N images.
        probabilities: float (N, C) on the CPU.
        class_names: C names.
        count: most images to return.
    """
    confidence, predicted = probabilities.max(dim=1)
    right = predicted == test.labels
    queues = []
    for label in range(len(class_names)):
        own = (right & (test.labels == label)).nonzero().flatten()
        queues.append(own[confidence[own].argsort(descending=True, stable=True)][:count].tolist())
    chosen = [queue[turn] for turn in range(count) for queue in queues if turn < len(queue)][:count]
    return [_success(index, test, probabilities[index], class_names) for index in chosen]


def _error(index: int, test: ImageSet, probabilities: Tensor, class_names: Sequence[str]) -> Picture:
    label, guess = int(test.labels[index]), int(probabilities.argmax())
    true, predicted = class_names[label], class_names[guess]
    sure, little = (format_probability(float(probabilities[index])) for index in (guess, label))
    alt = f"Test image {index}: {true}, predicted {predicted} with {sure}, {true} with {little}"
    return Picture(png(test.images[index]), alt, (f"{predicted} {sure}", f"is {true} {little}"))


def _success(index: int, test: ImageSet, probabilities: Tensor, class_names: Sequence[str]) -> Picture:
    true, sure = class_names[int(test.labels[index])], format_probability(float(probabilities.max()))
    return Picture(png(test.images[index]), f"Test image {index}: {true}, predicted with {sure}", (true, sure))


# ---- training images


def strips(
    train: ImageSet,
    class_names: Sequence[str],
    augmentation: Augmentation,
    *,
    fill: tuple[int, int, int],
    seed: int = 0,
) -> list[Strip]:
    """The first image of each class, and what a recipe's augmentation makes of it, mixing included.

    Mixing takes its partners from among the images shown.

    Args:
        train: training images, on any device.
        class_names: names of the classes by label.
        augmentation: the recipe's augmentation.
        fill: colour of cutout's square, uint8.
        seed: seed of every random choice; the pictures are the same on every device.
    """
    labels = train.labels.cpu()
    present = [label for label in range(len(class_names)) if (labels == label).any()][:SAMPLED_CLASSES]
    if not present:
        return []
    index = torch.tensor([int((labels == label).nonzero()[0]) for label in present])
    images = train.images[index.to(train.images.device)].cpu()  # (K, 3, H, W)
    targets = F.one_hot(torch.arange(len(present))).float()  # (K, K)
    generator = torch.Generator().manual_seed(derive_seed(seed, "gallery"))
    names = [class_names[label] for label in present]
    versions, words = [], []
    for _ in range(VERSIONS):
        changed = augment(images, augmentation, generator, fill=fill)
        mixed, shares = mix(changed.float(), targets, augmentation, generator)
        versions.append(mixed.round().clamp(0, 255).byte())
        words.append([_mixture(row, names) for row in shares])
    return [
        Strip(
            name,
            f"A training image, {name}, and {VERSIONS} augmented versions: {', '.join(word[k] for word in words)}",
            (png(images[k]), *(png(version[k]) for version in versions)),
            tuple(word[k] for word in words) if augmentation.mixes else (),
        )
        for k, name in enumerate(names)
    ]


def _mixture(shares: Tensor, names: Sequence[str]) -> str:
    """Classes of a mixed image in words: `cat`, or `70 % cat and 30 % dog`."""
    parts = [(float(share), name) for share, name in zip(shares, names, strict=True) if share >= 0.005]
    if len(parts) == 1:
        return parts[0][1]
    return " and ".join(f"{format_percent(share, 0)} {name}" for share, name in sorted(parts, reverse=True))


# ---- PNG and HTML


def png(image: Tensor) -> str:
    """A uint8 image (3, H, W) as the data URI of a PNG, reduced if its longer side exceeds `LARGEST`."""
    image = image.cpu()
    longest = max(image.shape[1:])
    if longest > LARGEST:
        size = [max(1, round(side * LARGEST / longest)) for side in image.shape[1:]]
        image = F.interpolate(image[None].float(), size=size, mode="area")[0].round().byte()
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def gallery_html(heading: str, caption: str, pictures: Sequence[Picture]) -> str:
    """A figure of pictures, each with its two lines."""
    items = "".join(
        f'<li><img src="{picture.uri}" alt="{escape(picture.alt)}" title="{escape(picture.alt)}">'
        f"<b>{escape(picture.lines[0])}</b><span>{escape(picture.lines[1])}</span></li>"
        for picture in pictures
    )
    return _figure(heading, caption, f"<ul class=gallery>{items}</ul>")


def strips_html(heading: str, caption: str, rows: Sequence[Strip]) -> str:
    """A figure of strips: the image itself, then its versions."""
    return _figure(heading, caption, f"<ul class=strips>{''.join(_strip_items(rows))}</ul>")


def _strip_items(rows: Sequence[Strip]) -> Iterator[str]:
    for row in rows:
        words = ("", *row.words)
        pictures = "".join(
            f'<span><img src="{uri}" alt="">{escape(text)}</span>'
            for uri, text in zip_longest(row.uris, words, fillvalue="")
        )
        yield f'<li><b>{escape(row.label)}</b><div role=img aria-label="{escape(row.alt)}">{pictures}</div></li>'


def _figure(heading: str, caption: str, content: str) -> str:
    return f"<figure><h3>{escape(heading)}</h3>{content}<figcaption>{escape(caption)}</figcaption></figure>"
