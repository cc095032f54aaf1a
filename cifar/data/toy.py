"""A small data set that a small network learns within seconds, for tests and for trying commands out.

A class is the orientation, 0 to 90 degrees, and the colour of a grating; phase, wavelength, contrast, some of
the orientation and a strong noise vary by image. No weighted sum of pixels tells the class, mirroring keeps
classes apart, and neighbouring classes touch, so that the last few per cent are hard.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def toy_npz(path: Path, *, train: int = 600, test: int = 200, classes: int = 4, size: int = 32, seed: int = 0) -> Path:
    """Writes toy images as an .npz that `cifar.data.prepare.prepare` accepts; returns `path`.

    Args:
        path: the file to write; its folder must exist.
        train: training images, balanced over classes.
        test: test images, balanced over classes.
        classes: 2 or more.
        size: height and width in pixels.
        seed: seed of everything random.
    """
    rng = np.random.RandomState(seed)
    train_images, train_labels = _split(rng, train, classes, size)
    test_images, test_labels = _split(rng, test, classes, size)
    with path.open("wb") as file:  # numpy appends .npz to a name, but not to a file
        np.savez(
            file,
            train_images=train_images,
            train_labels=train_labels,
            test_images=test_images,
            test_labels=test_labels,
        )
    return path


def _split(
    rng: np.random.RandomState, count: int, classes: int, size: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    labels = rng.permutation(np.arange(count) % classes)
    images = np.stack([_image(rng, label, classes, size) for label in labels]) if count else _nothing(size)
    return images, labels.astype(np.uint8)


def _nothing(size: int) -> NDArray[np.uint8]:
    return np.empty((0, 3, size, size), dtype=np.uint8)


def _image(rng: np.random.RandomState, label: int, classes: int, size: int) -> NDArray[np.uint8]:
    """One image (3, size, size)."""
    angle = np.pi / 2 * (label + rng.normal(scale=0.25)) / (classes - 1)
    rows, columns = np.mgrid[:size, :size]
    distance = columns * np.cos(angle) + rows * np.sin(angle)
    wave = np.sin(2 * np.pi * (distance / rng.uniform(5, 8) + rng.uniform()))  # (size, size) in [-1, 1]
    tint = np.cos(2 * np.pi * (label / classes + np.arange(3) / 3))[:, None, None]  # (3, 1, 1)
    noise = rng.normal(scale=0.25, size=(3, size, size))
    pixels = 0.5 + rng.uniform(0.1, 0.2) * (1 + 0.3 * tint) * wave + noise
    clipped: NDArray[np.uint8] = (255 * pixels.clip(0, 1)).round().astype(np.uint8)
    return clipped
