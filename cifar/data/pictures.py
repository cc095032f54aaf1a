"""Pictures of any size and mode, as a network takes them: uint8, RGB, square, of its own size.

What is done to a picture, in this order, each step only where it is needed:
    orientation    turned as its EXIF data says
    crop           the middle square, as long as the shorter side
    range          16-bit grey to 8 bits; 32-bit integers and floats, which have no fixed white, from least to greatest
    transparency   laid on white, the paper that most transparent pictures are drawn for
    colour         to RGB: grey, palette, CMYK, YCbCr and the like; embedded colour profiles are not applied
    size           resized bicubically with antialiasing (arXiv 2104.11222), after the crop and the composition
A square picture of the network's size keeps its very pixels. Of an animation the first frame counts.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from cifar.errors import DataError
from cifar.text import printable

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Recognised by content, not by name.

Left out: formats that run programs (EPS) or have no first bytes of their own (TGA).
"""
MOST_PIXELS = 50_000_000
"""Pixels of a picture at most, those of a telephone's sharpest; each takes 20 bytes of memory or less on its way."""
WIDE_MODES = ("I", "F")  # the first letters of Pillow's modes of more than 8 bits


def find_pictures(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Files to read, and whether each was named itself rather than found in a folder.

    Args:
        paths: files, and folders whose files, not those of folders inside them, are taken sorted by name.

    Raises:
        DataError: no such file or folder, or one that may not be read.
    """
    for path in paths:
        if path.is_dir():
            try:
                files = sorted(entry.path for entry in os.scandir(path) if entry.is_file())
            except OSError as error:
                raise _unreadable(path, error.strerror) from None
            yield from ((Path(file), False) for file in files)
        else:
            yield path, True


def read_picture(path: Path, size: int) -> Tensor:
    """A picture file as a network's input before normalisation.

    Args:
        path: a file in one of `FORMATS`.
        size: height and width in pixels that the network takes.

    Returns:
        uint8 (3, size, size).

    Raises:
        DataError: no such file, no picture, damaged, or too large to be decoded safely.
    """
    if not path.is_file():  # opening a pipe or a terminal would wait forever
        raise _unreadable(path, "no such file" if not os.path.lexists(path) else "no ordinary file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, on oddities that it reads nevertheless
            with Image.open(path, formats=_known_formats()) as image:
                if image.width * image.height > MOST_PIXELS:  # nothing is decoded yet
                    raise Image.DecompressionBombError
                square = _fitted(image, size)
    except Image.DecompressionBombError:  # Pillow's own limit is higher
        rule = f"a picture must have at most {MOST_PIXELS:,} pixels"
        raise DataError(rule, got=f"more in {printable(path)}", remedy="Make it smaller") from None
    except UnidentifiedImageError:
        raise _unreadable(path, "no picture") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on damaged input
        raise _unreadable(path, str(error) or type(error).__name__) from None
    return torch.from_numpy(np.array(square).transpose(2, 0, 1).copy())


def _unreadable(path: Path, reason: str | None) -> DataError:
    return DataError(
        "a picture must be an undamaged image file",
        got=f"{printable(path)} ({reason})",
        remedy="Leave it out, or convert it to PNG",
    )


def _known_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)  # AVIF needs Pillow 11.3


def _fitted(image: Image.Image, size: int) -> Image.Image:
    """The image as the head of this file says: RGB, size x size."""
    # 16-bit grey in files whose format has no wider integers opens as 32-bit integers in some versions of Pillow
    sixteen_bits = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    square = _middle(ImageOps.exif_transpose(image))
    if square.mode.startswith(WIDE_MODES):
        square = _eight_bits(square, sixteen_bits)
    square = _on_white(square).convert("RGB")
    return square if square.width == size else square.resize((size, size), Image.Resampling.BICUBIC)


def _middle(image: Image.Image) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _eight_bits(image: Image.Image, sixteen_bits: bool) -> Image.Image:
    """8-bit grey of 16-bit grey, whose white is 65535, or of 32-bit values, stretched from least to greatest."""
    values = np.asarray(image).astype(np.float64)  # (H, W)
    least, greatest = (0.0, 65535.0) if sixteen_bits else (float(values.min()), float(values.max()))
    if not np.isfinite(greatest - least):
        raise ValueError("NaN or infinite pixels")
    values -= least  # in place: a large picture's values are hundreds of megabytes
    values *= 255 / ((greatest - least) or 1.0)
    return Image.fromarray(values.round(out=values).clip(0, 255, out=values).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode not in ("RGBA", "LA", "PA") and "transparency" not in image.info:
        return image
    colours = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours)
