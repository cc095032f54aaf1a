"""The data set: found or downloaded, decoded once, and cached.

cache folder (XDG_CACHE_HOME/cifar-budget-search, or ~/.cache/cifar-budget-search)
├── cifar-10-python.tar.gz          the official archive, if downloaded
└── prepared/<source key>/
    ├── train_images.npy  train_labels.npy  test_images.npy  test_labels.npy  meta.json
    └── order-<seed>/               the training images in the order of a split (`cifar.data.splits`)
        └── train_images.npy  train_labels.npy  meta.json
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from cifar.data.cache import SourceMeta, cache_errors, read_meta, write_arrays, write_meta
from cifar.data.forms import ACCEPTED_FORMS, Decoded
from cifar.data.official import official_source
from cifar.data.sources import decode, source_key
from cifar.errors import DataError
from cifar.runtime.cache_folder import cache_folder

OFFICIAL = "official CIFAR-10"
"""What is shown as the source where none was given."""
CACHE_FORMAT = 1
"""Raised whenever decoding or ordering changes, so that older caches are rebuilt."""


@dataclass(frozen=True)
class PreparedData:
    """What lies on disk after preparation; holds no images, so it is cheap to send to a worker."""

    folder: Path
    """Cache folder of this source."""
    source: str
    """What the user gave, for display."""
    fingerprint: str
    """SHA-256 of the decoded content: the same images have the same one, whatever form they came in."""
    class_names: tuple[str, ...]
    """Names of the classes, by label."""
    train_count: int
    """Images a search may use, for training and validation together."""
    test_count: int
    """Test images; 0 if the source has no test split."""
    image_size: int
    """Height and width in pixels."""


def prepare(source: str | Path | None = None, *, split: float | None = None, cache: Path | None = None) -> PreparedData:
    """Decodes a data source into the cache, unless it is there already.

    Args:
        source: a file or folder in an accepted form (see `cifar.data.forms`). None means the environment
            variable CIFAR_DATA or, without it, the official CIFAR-10, downloaded if it is not in the cache.
        split: share of each class for training, the rest being for the test, of a source without test images;
            None leaves the images as they are.
        cache: the cache folder; see above for its default.

    Raises:
        DataError: source missing, damaged, or in no accepted form; failed download; cache not writable.
        ConfigError: no home directory for the cache.
    """
    root = cache_folder(cache)
    given = source if source is not None else os.environ.get("CIFAR_DATA") or None
    path = Path(os.path.expanduser(given)) if given is not None else official_source(root)
    if not os.path.exists(path):  # Path.exists raises where a folder may not be searched
        raise DataError("a data source must exist", got=path, remedy=f"Check the path, and give {ACCEPTED_FORMS}")
    if not (os.path.isfile(path) or os.path.isdir(path)):  # opening a pipe would wait for a writer
        raise DataError("a data source must be a file or a folder", got=f"{path}, neither", remedy="Check the path")
    folder = root / "prepared" / f"{CACHE_FORMAT}-{source_key(path, split)}"
    meta = read_meta(folder, SourceMeta) or _write_decoded(folder, decode(path, strict=given is None, split=split))
    return PreparedData(
        folder=folder,
        source=OFFICIAL if given is None else str(given),
        fingerprint=meta.fingerprint,
        class_names=tuple(meta.class_names),
        train_count=meta.train_count,
        test_count=meta.test_count,
        image_size=meta.image_size,
    )


def prepared_here(data: PreparedData) -> PreparedData:
    """The same images on the machine that this process is on, which may be another than the one that prepared them.

    Where its cache lacks them they are decoded, by one of the processes that ask for them at the same time.

    Raises:
        DataError: the source is not there, or holds other images than where it was prepared.
    """
    if read_meta(data.folder, SourceMeta) is not None:
        return data
    root = cache_folder(None)
    with cache_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / "prepare.lock")
        lock.acquire()
    try:
        here = prepare(None if data.source == OFFICIAL else data.source)
    finally:
        lock.release()
    if here.fingerprint != data.fingerprint:
        raise DataError(
            "every machine must find the same images",
            got=f"others in {data.source} on {platform.node()}",
            remedy="Put the same files there, or give --data on a shared file system",
        )
    return here


def _write_decoded(folder: Path, decoded: Decoded) -> SourceMeta:
    arrays: dict[str, NDArray[Any]] = {
        "train_images.npy": decoded.train_images,
        "train_labels.npy": decoded.train_labels,
        "test_images.npy": decoded.test_images,
        "test_labels.npy": decoded.test_labels,
    }
    meta = SourceMeta(
        files=write_arrays(folder, arrays),
        fingerprint=_fingerprint(decoded.class_names, arrays),
        class_names=list(decoded.class_names),
        train_count=len(decoded.train_labels),
        test_count=len(decoded.test_labels),
        image_size=decoded.train_images.shape[2],
    )
    write_meta(folder, meta)
    return meta


def _fingerprint(class_names: tuple[str, ...], arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(json.dumps(class_names).encode())
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
