"""What a retrained model sees in pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cifar.data.pictures import find_pictures, read_picture
from cifar.errors import DataError
from cifar.text import printable


@dataclass(frozen=True)
class Prediction:
    """What the model sees in one picture."""

    file: Path
    """The file as it was given, or found in a folder."""
    ranked: tuple[tuple[str, float], ...]
    """Every class with its probability, the most probable first."""
    probabilities: dict[str, float]
    """Probability of every class, in the order of the labels."""

    def to_dict(self) -> dict[str, object]:
        """The JSON form."""
        predicted, confidence = self.ranked[0]
        return {
            "file": str(self.file),
            "predicted": predicted,
            "confidence": confidence,
            "probabilities": self.probabilities,
        }


def read_pictures(paths: Sequence[Path], size: int, skip: Callable[[DataError], None]) -> tuple[list[Path], Tensor]:
    """The files and their images, uint8 (N, 3, size, size).

    Args:
        paths: pictures, and folders of pictures.
        size: side of the images in pixels.
        skip: is told of each file in a folder that is no picture, or a damaged one.

    Raises:
        DataError: a file that was named itself is no sound picture, or there is none at all.
    """
    files, images = [], []
    for path, named in find_pictures(paths):
        try:
            image = read_picture(path, size)
        except DataError as error:
            if named:
                raise
            skip(error)
            continue
        files.append(path)
        images.append(image)
    if not files:
        given = ", ".join(printable(path) for path in paths)
        raise DataError("there must be a picture to predict", got=f"none in {given}", remedy="Name picture files")
    return files, torch.stack(images)


def rank(files: Sequence[Path], probabilities: Tensor, class_names: Sequence[str]) -> list[Prediction]:
    """One prediction a row of `probabilities`, float (N, C); of equal classes the first label comes first."""
    predictions = []
    for file, row in zip(files, probabilities.tolist(), strict=True):
        by_class = dict(zip(class_names, row, strict=True))
        ranked = sorted(by_class.items(), key=lambda pair: -pair[1])
        predictions.append(Prediction(file, tuple(ranked), by_class))
    return predictions
