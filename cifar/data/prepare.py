"""The data set: found or downloaded, decoded once, cached, split.

    cache folder (--cache, or XDG_CACHE_HOME/cifar-budget-search, or ~/.cache/cifar-budget-search)
    ├── cifar-10-python.tar.gz          the official archive, if downloaded
    └── prepared/<source key>/
        ├── train_images.npy  train_labels.npy  test_images.npy  test_labels.npy  meta.json
        └── order-<seed>/
            └── train_images.npy  train_labels.npy  meta.json

`order-<seed>` holds the training images shuffled in an order whose every beginning is stratified. So the
validation images are its first `val_size` and the training images the rest, for any `val_size`: two views of
one memory map, which all trials and worker processes share through the page cache, without a copy.

Each file is replaced atomically and its content depends on the source (and seed) alone, so processes that
start together may all write it; `meta.json` is written last and tells the sizes, so a missing or cut file is
noticed.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cifar.data.archives import (
    ACCEPTED_FORMS,
    OFFICIAL_ARCHIVE,
    OFFICIAL_FOLDER,
    Decoded,
    Images,
    Labels,
    decode,
    source_key,
    torchvision_cifar10,
)
from cifar.data.download import socket_timeout
from cifar.errors import DataError
from cifar.runtime.cache_folder import cache_folder

CACHE_FORMAT = 1
"""Raised whenever decoding or ordering changes, so that older caches are rebuilt."""


@dataclass(frozen=True)
class ImageSet:
    """Images and their labels, row by row."""

    images: Tensor  # uint8 (N, 3, H, W)
    labels: Tensor  # int64 (N,)

    def __len__(self) -> int:
        return len(self.labels)


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
    """By label."""
    train_count: int
    """Images a search may use, for training and validation together."""
    test_count: int
    """0 if the source has no test split."""
    image_size: int
    """Height and width in pixels."""


@dataclass(frozen=True)
class TrainingSplit:
    """What a search may see: never a test image."""

    train: ImageSet
    val: ImageSet
    class_names: tuple[str, ...]


# Prepare.


def prepare(source: str | Path | None = None, *, cache: Path | None = None) -> PreparedData:
    """Decodes a data source into the cache, unless it is there already.

    Args:
        source: a file or folder in an accepted form (see `cifar.data.archives`). None means the environment
            variable CIFAR_DATA or, without it, the official CIFAR-10, downloaded if it is not in the cache.
        cache: the cache folder; see above for its default.

    Raises:
        DataError: source missing, damaged, or in no accepted form; failed download; cache not writable.
    """
    root = cache_folder(cache)
    given = source if source is not None else os.environ.get("CIFAR_DATA") or None
    path = Path(given).expanduser() if given is not None else _official_source(root)
    if not os.path.exists(path):  # Path.exists raises where a folder may not be searched
        raise DataError("a data source must exist", got=path, remedy=f"Check the path, and give {ACCEPTED_FORMS}")
    folder = root / "prepared" / f"{CACHE_FORMAT}-{source_key(path)}"
    meta = _read_meta(folder, _Meta) or _write_decoded(folder, decode(path, strict=given is None))
    return PreparedData(
        folder=folder,
        source="official CIFAR-10" if given is None else str(given),
        fingerprint=meta.fingerprint,
        class_names=tuple(meta.class_names),
        train_count=meta.train_count,
        test_count=meta.test_count,
        image_size=meta.image_size,
    )


def _write_decoded(folder: Path, decoded: Decoded) -> _Meta:
    arrays: dict[str, NDArray[Any]] = {
        "train_images.npy": decoded.train_images,
        "train_labels.npy": decoded.train_labels,
        "test_images.npy": decoded.test_images,
        "test_labels.npy": decoded.test_labels,
    }
    meta = _Meta(
        files=_write_arrays(folder, arrays),
        fingerprint=_fingerprint(decoded.class_names, arrays),
        class_names=list(decoded.class_names),
        train_count=len(decoded.train_labels),
        test_count=len(decoded.test_labels),
        image_size=decoded.train_images.shape[2],
    )
    _write_meta(folder, meta)
    return meta


def _fingerprint(class_names: tuple[str, ...], arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(json.dumps(class_names).encode())
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


# Download.


def _official_source(root: Path) -> Path:
    """The official archive or folder in the cache folder, downloaded if neither is there."""
    for name in (OFFICIAL_ARCHIVE, OFFICIAL_FOLDER):
        if (root / name).exists():
            return root / name
    return _download(root)


def _download(root: Path) -> Path:
    """Downloads and verifies the official archive aside, and only then moves it to its place."""
    published = torchvision_cifar10()
    from torchvision.datasets.utils import download_url

    with _cache_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        aside = tempfile.mkdtemp(dir=root, prefix=".download-")
    try:
        with socket_timeout():
            download_url(published.url, aside, filename=OFFICIAL_ARCHIVE, md5=published.tgz_md5)
        os.replace(Path(aside, OFFICIAL_ARCHIVE), root / OFFICIAL_ARCHIVE)
    except (OSError, RuntimeError, ValueError, http.client.HTTPException) as error:
        raise DataError(
            "without --data or CIFAR_DATA the official CIFAR-10 is downloaded, and must arrive whole",
            got=f"{published.url}: {error or type(error).__name__}",
            remedy=f"Try again with a network, or name a local source by one of them: {ACCEPTED_FORMS}",
        ) from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return root / OFFICIAL_ARCHIVE


# Split.


def load_training_split(
    data: PreparedData,
    *,
    val_size: int,
    train_size: int | None = None,
    val_limit: int | None = None,
    seed: int = 0,
) -> TrainingSplit:
    """Training and validation images, stratified by class, drawn from the training images of the source.

    Full parts are views of one memory map shared by all processes; writing to them changes a private copy.
    The same seed gives the same images on every machine. A smaller `val_size`, `train_size` or `val_limit`
    gives a subset of what a greater one gives, and neither of the last two changes the other part. A class is
    within one image of its share: validation of the whole source, a subset of its part.

    Args:
        data: what `prepare` returned.
        val_size: validation images, 0 or more.
        train_size: keep this many of the other images, a fixed stratified subset; None keeps all.
        val_limit: keep at most this many validation images, a fixed stratified subset; None keeps all.
        seed: of the split, in 0..2**32 - 1.

    Raises:
        DataError: sizes that the source cannot give; a cache that was removed or cut, or cannot be written.
    """
    _require_within("val_size", val_size, 0, data.train_count - 1, data)
    if train_size is not None:
        _require_within("train_size", train_size, 1, data.train_count - val_size, data)
    if val_limit is not None:
        _require_within("val_limit", val_limit, 1, None, data)
    _require_within("split seed", seed, 0, 2**32 - 1, data)
    images, labels = map(torch.from_numpy, _open_arrays(_ordered_folder(data, seed), "train", data.train_count))
    val = ImageSet(images[:val_size], labels[:val_size])
    train = ImageSet(images[val_size:], labels[val_size:])
    return TrainingSplit(_subset(train, train_size), _subset(val, val_limit), data.class_names)


def _require_within(name: str, value: int, least: int, most: int | None, data: PreparedData) -> None:
    if value < least or (most is not None and value > most):
        allowed = f"{least} or more" if most is None else f"in {least}..{most}"
        raise DataError(
            f"{name} must be {allowed}",
            got=f"{value} with {data.train_count} training images in {data.source}",
            remedy=f"Choose {name} {allowed}",
        )


def _subset(part: ImageSet, size: int | None) -> ImageSet:
    if size is None or size >= len(part):
        return part
    index = torch.from_numpy(stratified_order(part.labels.numpy())[:size])
    return ImageSet(part.images[index], part.labels[index])


def stratified_order(labels: Labels) -> Labels:
    """Positions 0..N-1 in an order whose first n hold each class within one image of n times its share.

    Positions of one class keep their order. The j-th (from 0) of N_c images of a class may come from step
    floor(j N / N_c) on, and must have come before step ceil((j + 1) N / N_c): that is the bound above, solved
    for the step. One image a step, taken by earliest deadline, meets all of these deadlines.

    Args:
        labels: (N,), of any values.
    """
    total = len(labels)
    queues = {int(label): np.flatnonzero(labels == label) for label in np.unique(labels)}
    taken = dict.fromkeys(queues, 0)
    waiting = [(0, label) for label in queues]  # heap of (first step allowed, class)
    ready: list[tuple[int, int]] = []  # heap of (deadline, class)
    heapify(waiting)
    order = np.empty(total, dtype=np.int64)
    for step in range(total):
        while waiting and waiting[0][0] <= step:
            _, label = heappop(waiting)
            heappush(ready, (-(-(taken[label] + 1) * total // len(queues[label])), label))
        _, label = heappop(ready)
        order[step] = queues[label][taken[label]]
        taken[label] += 1
        if taken[label] < len(queues[label]):
            heappush(waiting, (taken[label] * total // len(queues[label]), label))
    return order


def _ordered_folder(data: PreparedData, seed: int) -> Path:
    """The folder of training images in the seed's order, written if it is not there."""
    folder = data.folder / f"order-{seed}"
    meta = _read_meta(folder, _OrderMeta)
    if meta is None or meta.fingerprint != data.fingerprint:
        images, labels = _open_arrays(data.folder, "train", data.train_count)
        order = _shuffled_order(labels, seed)
        files = _write_arrays(folder, {"train_images.npy": images[order], "train_labels.npy": labels[order]})
        _write_meta(folder, _OrderMeta(files=files, fingerprint=data.fingerprint))
    return folder


def _shuffled_order(labels: Labels, seed: int) -> Labels:
    # RandomState, not Generator: its stream never changes (NEP 19), so a split outlives numpy's versions
    shuffled = np.random.RandomState(seed).permutation(len(labels))
    order: Labels = shuffled[stratified_order(labels[shuffled])]
    return order


# Test.


def load_test(data: PreparedData) -> ImageSet:
    """The test images, for final evaluation only: nothing else in the project reads them.

    Raises:
        DataError: the source has no test split, or the cache was removed or cut.
    """
    if data.test_count == 0:
        raise DataError(
            "final evaluation needs a test split",
            got=f"none in {data.source}",
            remedy="Add test/ to the data source",
        )
    images, labels = _open_arrays(data.folder, "test", data.test_count)
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels))


# Statistics.


def channel_statistics(images: Tensor) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of each channel over all pixels, on the scale [0, 1].

    Exact, from a histogram of the 256 values; memory beyond the images stays below 100 MB. The deviation is
    at least 1/255, so that one may divide by it.

    Args:
        images: uint8 (N, 3, H, W), N at least 1.

    Raises:
        DataError: no images.
    """
    if len(images) == 0:
        raise DataError("channel statistics need at least one image", got="none", remedy="Give training images")
    rows = max(1, 2**22 // images[0, 0].numel())
    counts = torch.zeros(3, 256, dtype=torch.float64)
    for start in range(0, len(images), rows):
        chunk = images[start : start + rows].cpu()
        for channel in range(3):
            counts[channel] += torch.bincount(chunk[:, channel].flatten(), minlength=256)
    shares = counts / counts.sum(dim=1, keepdim=True)
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = shares @ values
    std = (shares * (values - mean[:, None]) ** 2).sum(dim=1).sqrt().clamp(min=1 / 255)
    return (float(mean[0]), float(mean[1]), float(mean[2])), (float(std[0]), float(std[1]), float(std[2]))


# Cache files.


@dataclass(frozen=True)
class _OrderMeta:
    files: dict[str, int]
    """Bytes of each file."""
    fingerprint: str


@dataclass(frozen=True)
class _Meta(_OrderMeta):
    class_names: list[str]
    train_count: int
    test_count: int
    image_size: int


M = TypeVar("M", bound=_OrderMeta)


def _read_meta(folder: Path, kind: type[M]) -> M | None:
    """The folder's meta.json; None unless it is sound and all its files have their sizes."""
    try:
        meta = kind(**json.loads((folder / "meta.json").read_text(encoding="utf-8")))
        sound = all((folder / name).stat().st_size == size for name, size in meta.files.items())
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    return meta if sound else None


def _write_meta(folder: Path, meta: _OrderMeta) -> None:
    _write_atomically(folder / "meta.json", lambda file: file.write(json.dumps(asdict(meta)).encode()))


def _write_arrays(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> dict[str, int]:
    """Writes the files; returns their sizes in bytes."""
    with _cache_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
    for name, array in arrays.items():
        _write_atomically(folder / name, partial(np.save, arr=array))
    return {name: (folder / name).stat().st_size for name in arrays}


def _write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with _cache_errors(path.parent):
            with temporary.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_leftovers(folder: Path) -> None:
    """Removes temporary files that a killed process left more than an hour ago."""
    for path in folder.glob("*.tmp"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - 3600:
                path.unlink()


@contextmanager
def _cache_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            "the cache folder must be writable and have room for the images",
            got=f"{folder} ({error.strerror or error})",
            remedy="Free space there, or choose another folder by --cache or XDG_CACHE_HOME",
        ) from None


def _open_arrays(folder: Path, split: str, count: int) -> tuple[Images, Labels]:
    """Images (N, 3, H, W), as a copy-on-write memory map, and labels (N,) of a split."""
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
