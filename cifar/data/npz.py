"""An .npz of train_images, train_labels and perhaps test_images, test_labels and class_names."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cifar.data.forms import CIFAR10_CLASSES, Decoded, Images, Labels
from cifar.data.growth import Growth
from cifar.errors import DataError
from cifar.files import open_plain

NPZ_NAMES = ("train_images", "train_labels", "test_images", "test_labels", "class_names")
NAMES_BYTES = 2**20
"""Bytes of all class names at most."""


def is_npz(source: Path) -> bool:
    """Whether a file is an .npz, by its name or its content."""
    if source.is_dir():
        return False
    if source.suffix == ".npz":
        return True
    if not zipfile.is_zipfile(source):
        return False
    with zipfile.ZipFile(source) as archive:
        return "train_images.npy" in archive.namelist()


def decode_npz(source: Path) -> Decoded:
    """All images.

    Raises:
        DataError: arrays are missing, or of a wrong type or shape.
    """
    try:
        _check_growth(source)
        with open_plain(source) as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in NPZ_NAMES if name in archive}
    # a pickle, a damaged header, one that asks for more memory than there is
    except (ValueError, TypeError, AttributeError, KeyError, MemoryError) as error:
        raise _wrong_npz(source, "plain numpy arrays", str(error)) from None
    if "train_images" not in arrays or "train_labels" not in arrays:
        raise _wrong_npz(source, "train_images and train_labels", f"only {sorted(arrays)} of the known names")
    if ("test_images" in arrays) != ("test_labels" in arrays):
        raise _wrong_npz(source, "both test_images and test_labels, or neither", f"{sorted(arrays)}")
    train_images, train_labels = _npz_split(source, arrays, "train")
    if "test_images" in arrays:
        test_images, test_labels = _npz_split(source, arrays, "test")
    else:
        test_images, test_labels = train_images[:0], train_labels[:0]
    class_names = _npz_class_names(source, arrays.get("class_names"), train_labels)
    return Decoded(class_names, train_images, train_labels, test_images, test_labels)


def _check_growth(source: Path) -> None:
    """Refuses arrays far larger than the file."""
    growth = Growth(source)
    with zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            growth.entry(info.filename)
            growth.take(info.file_size)  # more than that is never read
            if info.filename.endswith("_labels.npy"):
                growth.take(7 * info.file_size)  # a byte becomes 64 bits


def _npz_split(source: Path, arrays: dict[str, NDArray[Any]], split: str) -> tuple[Images, Labels]:
    images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise _wrong_npz(source, f"{split}_images as uint8 (N, 3, S, S)", f"{images.dtype} {images.shape}")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        got = f"{labels.dtype} {labels.shape}"
        raise _wrong_npz(source, f"{split}_labels as integers, one an image", got)
    return np.ascontiguousarray(images), labels.astype(np.int64)


def _npz_class_names(source: Path, given: NDArray[Any] | None, labels: Labels) -> tuple[str, ...]:
    if given is None:
        count = int(labels.max(initial=-1)) + 1
        return CIFAR10_CLASSES if count == 10 else tuple(map(str, range(count)))
    if given.ndim != 1 or given.dtype.kind not in "US":
        raise _wrong_npz(source, "class_names as a list of text", f"{given.dtype} {given.shape}")
    if given.nbytes > NAMES_BYTES:
        raise _wrong_npz(source, "class_names of a megabyte at most", f"{given.nbytes:,} bytes")
    return tuple(given.astype(str).tolist())


def _wrong_npz(source: Path, rule: str, got: str) -> DataError:
    return DataError(f"an .npz must hold {rule}", got=f"{source} ({got})", remedy="Write it again that way")
