"""An image tree, train/<class>/*.jpg|png and perhaps test/<class>/..., decoded file by file."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from cifar.data.forms import IMAGE_SUFFIXES, OTHER_IMAGE_SUFFIXES, Decoded, Images, Labels, unknown_form, unsplit
from cifar.data.growth import Growth
from cifar.errors import DataError
from cifar.text import printable

LOOSE = "loose"
"""Split of images in <class>/, which are training images where there is no train/."""
LONGEST_SIDE = 2048
"""Pixels of an image's width and height at most."""


class ImageTree:
    """The images of a tree met so far, by split, class and file name.

    Args:
        source: where they come from, for errors.
        growth: counts what comes out of the source.
        classes: whether images may lie in <class>/, without train/; they are training images.
    """

    def __init__(self, source: Path, growth: Growth, *, classes: bool = False) -> None:
        self.source, self.growth, self.classes = source, growth, classes
        self.outside = False
        self.images: dict[str, dict[tuple[str, str], Images]] = {"train": {}, "test": {}, LOOSE: {}}
        self.roots: dict[bool, set[str]] = {False: set(), True: set()}  # of the tree, and of loose images
        self.size = 0

    def add(self, name: PurePosixPath, read: Callable[[], bytes]) -> None:
        """Decodes an image; files that are not of the tree are passed over.

        Args:
            name: path within the source.
            read: gives the file's content.

        Raises:
            DataError: the image is damaged, of another size, or in the wrong place.
        """
        place = self._place(name)
        if place is None:
            return
        root, split, class_name = place
        roots = self.roots[split == LOOSE]
        roots.add(root)
        if len(roots) > 1:
            raise self._wrong("a source must hold one image tree", name, f"roots {sorted(roots)}", "Pack one tree only")
        self.images[split][class_name, name.name] = self._decode(name, read())

    def _place(self, name: PurePosixPath) -> tuple[str, str, str] | None:
        """Enclosing folder, split and class of an image; None for what is no image of the tree."""
        parts = name.parts
        loose = not any(part in ("train", "test") for part in parts[:2])
        self.outside |= loose and len(parts) > 1 and name.suffix.lower() in IMAGE_SUFFIXES
        if len(parts) < 2 or (loose and not self.classes):
            return None
        if name.suffix.lower() in OTHER_IMAGE_SUFFIXES:
            raise self._wrong("images must be JPEG or PNG", name, name.suffix, "Convert them")
        if name.suffix.lower() not in IMAGE_SUFFIXES:
            return None
        if loose:
            return "/".join(parts[:-2]), LOOSE, parts[-2]
        if len(parts) == 4 and parts[1] in ("train", "test"):
            return parts[0], parts[1], parts[2]
        if len(parts) == 3 and parts[0] in ("train", "test"):
            return "", parts[0], parts[1]
        raise self._wrong(
            "an image must lie in train/<class>/ or test/<class>/",
            name,
            f"depth {len(parts)}",
            "Move it there",
        )

    def _decode(self, name: PurePosixPath, content: bytes) -> Images:
        try:
            pixels = _rgb(content)  # (3, H, W)
        except Exception as error:  # Pillow's decoders raise nearly anything on damaged input
            raise self._wrong(
                "an image must be an undamaged JPEG or PNG of 8 bits a channel",
                name,
                str(error),
                "Replace or remove it",
            ) from None
        self.growth.take(pixels.nbytes)
        height, width = pixels.shape[1:]
        self.size = self.size or height
        if not height == width == self.size:
            raise self._wrong(
                "all images must be square and of one size",
                name,
                f"{width}x{height} where {self.size}x{self.size} was due",
                "Resize them",
            )
        return pixels

    def decoded(self) -> Decoded:
        """All images; the tree is empty afterwards.

        Raises:
            DataError: there are no training images, or test images of an unknown class.
        """
        train, test = self.images["train"] or self.images[LOOSE], self.images["test"]
        if not train:
            raise unsplit(self.source) if self.outside else unknown_form(self.source)
        class_names = sorted({class_name for class_name, _ in train})
        for class_name, file in test:
            if class_name not in class_names:
                raise self._wrong(
                    "a class of test/ must be in train/ too",
                    PurePosixPath("test", class_name, file),
                    repr(class_name),
                    "Add or remove it",
                )
        return Decoded(tuple(class_names), *self._stack(train, class_names), *self._stack(test, class_names))

    def _stack(self, images: dict[tuple[str, str], Images], class_names: list[str]) -> tuple[Images, Labels]:
        keys = sorted(images)
        stacked = np.empty((len(keys), 3, self.size, self.size), dtype=np.uint8)
        for row, key in enumerate(keys):
            stacked[row] = images.pop(key)  # released one by one: the set is never held twice
        numbers = {name: number for number, name in enumerate(class_names)}
        return stacked, np.array([numbers[class_name] for class_name, _ in keys], dtype=np.int64)

    def _wrong(self, rule: str, name: PurePosixPath, got: str, remedy: str) -> DataError:
        return DataError(rule, got=f"{self.source}: {printable(name, 200)} ({got})", remedy=remedy)


def _rgb(content: bytes) -> Images:
    """Pixels (3, H, W) of a JPEG or PNG."""
    image: Image.Image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
    if max(image.size) > LONGEST_SIDE:  # nothing is decoded yet
        raise ValueError(f"{image.width}x{image.height}, more than {LONGEST_SIDE} pixels wide or high")
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"mode {image.mode}, more than 8 bits a channel")
    if "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns about palettes with transparency turned straight to RGB
    return np.ascontiguousarray(np.asarray(image.convert("RGB")).transpose(2, 0, 1))
