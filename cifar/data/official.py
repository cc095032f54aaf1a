"""The official CIFAR-10: its batches read, compared with their published checksums, and downloaded.

The batches are pickles, read by `cifar.safe_pickle`. URL and checksums are torchvision's.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cifar.data.cache import cache_errors
from cifar.data.forms import (
    ACCEPTED_FORMS,
    META_BATCH,
    OFFICIAL_ARCHIVE,
    OFFICIAL_FILES,
    OFFICIAL_FOLDER,
    TEST_BATCH,
    TRAIN_BATCHES,
    Decoded,
    Images,
    Labels,
)
from cifar.errors import DataError, UserError, fitting_torchvision
from cifar.files import atomic_path
from cifar.runtime.download import socket_timeout
from cifar.safe_pickle.reader import load_plain

logger = logging.getLogger(__name__)

REFETCH = "Fetch it again from https://www.cs.toronto.edu/~kriz/cifar.html (python version)"


class OfficialBatches:
    """The official CIFAR-10 batches met so far."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.found: dict[str, dict[Any, Any]] = {}
        self.md5: dict[str, str] = {}

    def add(self, name: str, read: Callable[[], bytes]) -> None:
        """Reads the batch of this name; other files are passed over.

        Raises:
            DataError: the file is no batch.
        """
        if name not in OFFICIAL_FILES:
            return
        content = read()
        try:
            batch = load_plain(io.BytesIO(content))
        except UserError as error:
            raise self._wrong(name, str(error).rstrip(".")) from None
        if not isinstance(batch, dict):
            raise self._wrong(name, f"a {type(batch).__name__}")
        self.found[name] = batch
        self.md5[name] = hashlib.md5(content, usedforsecurity=False).hexdigest()

    def decoded(self, strict: bool) -> Decoded:
        """All images.

        Args:
            strict: refuse wrong checksums, rather than warn once through `logging`.

        Raises:
            DataError: a batch is missing, or is not what it must be.
        """
        for name in OFFICIAL_FILES:
            if name not in self.found:
                raise DataError(
                    f"an official {OFFICIAL_FOLDER} must hold {name}",
                    got=f"{self.source} without it",
                    remedy=REFETCH,
                )
        self._verify(strict)
        train = [self._images_and_labels(name) for name in TRAIN_BATCHES]
        test_images, test_labels = self._images_and_labels(TEST_BATCH)
        return Decoded(
            class_names=self._class_names(),
            train_images=np.concatenate([images for images, _ in train]),
            train_labels=np.concatenate([labels for _, labels in train]),
            test_images=test_images,
            test_labels=test_labels,
        )

    def _verify(self, strict: bool) -> None:
        official = official_md5()
        wrong = ", ".join(name for name in sorted(self.md5) if self.md5[name] != official[name])
        if wrong and strict:
            raise DataError(
                "official CIFAR-10 files must have their published checksums",
                got=f"others for {wrong} in {self.source}",
                remedy="Delete that and run again to download it anew",
            )
        if wrong:
            logger.warning("%s is not the official CIFAR-10: other checksums for %s", self.source, wrong)

    def _images_and_labels(self, name: str) -> tuple[Images, Labels]:
        pixels, labels = self.found[name].get(b"data"), self.found[name].get(b"labels")
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (3072,):
            raise self._wrong(name, "no b'data' of uint8 (N, 3072)")
        if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < 10 for label in labels):
            raise self._wrong(name, "no b'labels' list of integers in 0..9")
        if len(labels) != len(pixels):
            raise self._wrong(name, f"{len(labels)} labels of {len(pixels)} images")
        return pixels.reshape(-1, 3, 32, 32), np.array(labels, dtype=np.int64)

    def _class_names(self) -> tuple[str, ...]:
        names = self.found[META_BATCH].get(b"label_names")
        if not isinstance(names, list) or not all(isinstance(name, bytes | str) for name in names):
            raise self._wrong(META_BATCH, "no b'label_names' list")
        return tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in names)

    def _wrong(self, name: str, got: str) -> DataError:
        return DataError(f"{name} must be an official CIFAR-10 batch", got=f"{got} in {self.source}", remedy=REFETCH)


def official_md5() -> dict[str, str]:
    """The published checksum of each official batch, from torchvision."""
    published = torchvision_cifar10()
    batches = [*published.train_list, *published.test_list]
    return dict(batches) | {published.meta["filename"]: published.meta["md5"]}


def torchvision_cifar10() -> Any:
    """Torchvision's class of the official data, for its URL and checksums; imported late: it takes a second.

    Raises:
        DataError: torchvision is missing, or was built for another torch.
    """
    with fitting_torchvision(DataError, "official CIFAR-10"):
        from torchvision.datasets import CIFAR10
    return CIFAR10


def official_source(root: Path) -> Path:
    """The official archive or folder in the cache folder `root`, downloaded if neither is there.

    Raises:
        DataError: the download failed, or the folder cannot be written.
    """
    for name in (OFFICIAL_ARCHIVE, OFFICIAL_FOLDER):
        if (root / name).exists():
            return root / name
    published = torchvision_cifar10()
    with cache_errors(root), atomic_path(root / OFFICIAL_ARCHIVE) as aside:
        _download(published, aside)
    return root / OFFICIAL_ARCHIVE


def _download(published: Any, path: Path) -> None:
    """Downloads the official archive to `path` and verifies it."""
    from torchvision.datasets.utils import download_url

    try:
        with socket_timeout():
            download_url(published.url, str(path.parent), filename=path.name, md5=published.tgz_md5)
    except (OSError, RuntimeError, ValueError, http.client.HTTPException) as error:
        raise DataError(
            "without --data or CIFAR_DATA the official CIFAR-10 is downloaded, and must arrive whole",
            got=f"{published.url}: {error or type(error).__name__}",
            remedy=f"Try again with a network, or name a local source by one of them: {ACCEPTED_FORMS}",
        ) from None
