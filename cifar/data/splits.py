"""Which images are for training, for validation, and for the final test.

The training images lie on disk shuffled in an order whose every beginning is stratified. So the validation images are
its first `val_size` and the training images the rest, for any `val_size`: two views of one memory map, which all trials
and worker processes share through the page cache, without a copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from cifar.data.cache import FolderMeta, cache_errors, open_arrays, read_meta, write_arrays, write_meta
from cifar.data.forms import Labels
from cifar.data.images import ImageSet
from cifar.data.prepare import PreparedData
from cifar.errors import DataError

MOST_VALIDATION = 5000
"""Validation images that are enough: they give an accuracy of 90 % a standard error of 0.4 points."""


def usual_val_size(train_count: int) -> int:
    """Validation images of a set for which nobody said how many: a tenth, of a small set a fifth.

    Args:
        train_count: images for training and validation together.
    """
    return min(MOST_VALIDATION, max(1, train_count // 10, min(1000, train_count // 5)))


def fitting_val_size(wanted: int, train_count: int) -> int:
    """The validation images that a recipe wants, or the usual share of a set that is too small for them.

    Args:
        wanted: validation images of the recipe.
        train_count: images for training and validation together.
    """
    return wanted if 2 * wanted <= train_count else min(wanted, usual_val_size(train_count))


@dataclass(frozen=True)
class TrainingSplit:
    """What a search may see: never a test image."""

    train: ImageSet
    """For the steps of training."""
    val: ImageSet
    """For validation; may be empty."""
    class_names: tuple[str, ...]
    """By label."""

    def to(self, device: torch.device) -> TrainingSplit:
        """The same on a device; images that lie there already are shared, not copied."""
        return TrainingSplit(self.train.to(device), self.val.to(device), self.class_names)


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
        seed: seed of the split, in 0..2**32 - 1.

    Raises:
        DataError: sizes that the source cannot give; a cache that was removed or cut, or cannot be written.
    """
    _require_within("val_size", val_size, 0, data.train_count - 1, data)
    if train_size is not None:
        _require_within("train_size", train_size, 1, data.train_count - val_size, data)
    if val_limit is not None:
        _require_within("val_limit", val_limit, 1, None, data)
    _require_within("split seed", seed, 0, 2**32 - 1, data)
    images, labels = map(torch.from_numpy, open_arrays(_ordered_folder(data, seed), "train", data.train_count))
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
    """The folder of training images in the seed's order, written if it is not there.

    Of workers that need it at the same time one writes it, so that all map the same file.
    """
    folder = data.folder / f"order-{seed}"
    if not _is_written(folder, data):
        lock = FileLock(data.folder / f"order-{seed}.lock")
        with cache_errors(data.folder):
            lock.acquire()
        try:
            if not _is_written(folder, data):
                _write_ordered(folder, data, seed)
        finally:
            lock.release()
    return folder


def _is_written(folder: Path, data: PreparedData) -> bool:
    meta = read_meta(folder, FolderMeta)
    return meta is not None and meta.fingerprint == data.fingerprint


def _write_ordered(folder: Path, data: PreparedData, seed: int) -> None:
    images, labels = open_arrays(data.folder, "train", data.train_count)
    order = _shuffled_order(labels, seed)
    files = write_arrays(folder, {"train_images.npy": images[order], "train_labels.npy": labels[order]})
    write_meta(folder, FolderMeta(files=files, fingerprint=data.fingerprint))


def _shuffled_order(labels: Labels, seed: int) -> Labels:
    # RandomState, not Generator: its stream never changes (NEP 19), so a split outlives numpy's versions
    shuffled = np.random.RandomState(seed).permutation(len(labels))
    order: Labels = shuffled[stratified_order(labels[shuffled])]
    return order


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
    images, labels = open_arrays(data.folder, "test", data.test_count)
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels))
