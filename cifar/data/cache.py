"""Arrays on disk: written whole, found again by a `meta.json` that is written last, read as memory maps.

Each file is replaced atomically and its content depends on the source (and seed) alone, so processes that start
together may all write it. `meta.json` tells the sizes, so a missing or cut file is noticed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cifar.data.forms import Images, Labels
from cifar.errors import DataError
from cifar.files import atomic_write

META = "meta.json"
LEFT_BEHIND = 3600.0  # seconds after which a temporary file is that of a killed process


@dataclass(frozen=True)
class FolderMeta:
    """What a folder of arrays says about itself."""

    files: dict[str, int]
    """Bytes of each file."""
    fingerprint: str
    """Fingerprint of the source; see `cifar.data.prepare.PreparedData`."""


@dataclass(frozen=True)
class SourceMeta(FolderMeta):
    """What the folder of a whole source says; see `cifar.data.prepare.PreparedData`."""

    class_names: list[str]
    """Names of the classes, by label."""
    train_count: int
    """Images for training and validation together."""
    test_count: int
    """Test images; 0 without a test split."""
    image_size: int
    """Height and width in pixels."""


M = TypeVar("M", bound=FolderMeta)


def read_meta(folder: Path, kind: type[M]) -> M | None:
    """The folder's meta.json; None unless it is undamaged and all its files have their sizes."""
    try:
        meta = kind(**json.loads((folder / META).read_text(encoding="utf-8")))
        sound = all((folder / name).stat().st_size == size for name, size in meta.files.items())
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return meta if sound else None


def write_meta(folder: Path, meta: FolderMeta) -> None:
    """Writes the folder's meta.json; to be called once its arrays are there.

    Raises:
        DataError: the folder cannot be written.
    """
    with cache_errors(folder), atomic_write(folder / META) as file:
        file.write(json.dumps(asdict(meta)).encode())


def write_arrays(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> dict[str, int]:
    """Writes arrays to files of these names; returns their sizes in bytes.

    Raises:
        DataError: the folder cannot be written.
    """
    with cache_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        for name, array in arrays.items():
            with atomic_write(folder / name) as file:
                np.save(file, array)
        return {name: (folder / name).stat().st_size for name in arrays}


def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob("*.tmp"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - LEFT_BEHIND:
                path.unlink()


@contextmanager
def cache_errors(folder: Path) -> Iterator[None]:
    """Turns what the system says about a folder that cannot be written into a `DataError`."""
    try:
        yield
    except OSError as error:
        raise DataError(
            "the cache folder must be writable and have room for the images",
            got=f"{folder} ({error.strerror or error})",
            remedy="Free space there, or choose another folder by XDG_CACHE_HOME",
        ) from None


def open_arrays(folder: Path, split: str, count: int) -> tuple[Images, Labels]:
    """Images (N, 3, H, W), as a copy-on-write memory map, and labels (N,) of a split.

    Args:
        folder: where `write_arrays` wrote them.
        split: train or test.
        count: images that there must be.

    Raises:
        DataError: they were removed or cut.
    """
    try:
        images = np.load(folder / f"{split}_images.npy", mmap_mode="c", allow_pickle=False)
        labels = np.load(folder / f"{split}_labels.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _cache_changed(folder, str(error)) from None
    if len(images) != count or len(labels) != count:
        raise _cache_changed(folder, f"{len(images)} images and {len(labels)} labels instead of {count}")
    return images, labels


def _cache_changed(folder: Path, got: str) -> DataError:
    return DataError(
        "cached images must stay as they were written",
        got=f"{folder}: {got}",
        remedy="Run again to rebuild them",
    )
