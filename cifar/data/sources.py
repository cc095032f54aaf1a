"""Reads a data set in any of the accepted forms (`cifar.data.forms`) into uint8 arrays.

Whatever is wrong with a source is a `DataError`.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cifar.data.forms import OFFICIAL_FOLDER, Decoded
from cifar.data.growth import Growth
from cifar.data.image_tree import ImageTree
from cifar.data.members import folder_files, members
from cifar.data.npz import decode_npz, is_npz
from cifar.data.official import OfficialBatches
from cifar.errors import DataError

HASHED_WHOLE = 256 * 2**20
"""Archives up to this many bytes are known by all their content (a second), greater ones by their ends."""


def decode(source: Path, *, strict: bool = False, split: float | None = None) -> Decoded:
    """Every image of a source.

    Args:
        source: an existing file or folder.
        split: share of each class for training, the rest being for the test, of a source without test images;
            None leaves the images as they are.
        strict: refuse official batches with a wrong checksum, rather than warn once through `logging`.

    Raises:
        DataError: damaged, unreadable, in no accepted form, or far larger than its size on disk lets expect.
    """
    with _damage_as_data_error(source):
        decoded = decode_npz(source) if is_npz(source) else _decode_members(source, strict, classes=split is not None)
    decoded.check(source)
    return decoded if split is None else decoded.split(split, source)


def _decode_members(source: Path, strict: bool, *, classes: bool) -> Decoded:
    batches = OfficialBatches(source)
    growth = Growth(source)
    tree = ImageTree(source, growth, classes=classes)
    for name, read in members(source, growth, classes=classes):
        if name.parent.name == OFFICIAL_FOLDER:
            batches.add(name.name, read)
        elif not any(part.startswith(".") or part == "__MACOSX" for part in name.parts):
            tree.add(name, read)
    return batches.decoded(strict) if batches.found else tree.decoded()


def source_key(source: Path, split: float | None = None) -> str:
    """A name of a source's present state, and of how it is split, found without decoding it.

    An archive is known by its content; a folder by its place and the names, sizes and times of change in it.

    Raises:
        DataError: unreadable, or a folder in no accepted form.
    """
    digest = hashlib.sha256()
    with _damage_as_data_error(source):
        for part in _folder_state(source, split is not None) if source.is_dir() else _file_state(source):
            digest.update(part)
    return digest.hexdigest()[:24] + (f"-split-{split!r}" if split else "")


def _folder_state(folder: Path, classes: bool) -> Iterator[bytes]:
    yield os.fsencode(folder.resolve())
    for name, path in sorted(folder_files(folder, classes=classes)):
        stat = path.stat()
        yield os.fsencode(f"\n{name}\0{stat.st_size} {stat.st_mtime_ns}")


def _file_state(path: Path) -> Iterator[bytes]:
    stat = path.stat()
    with path.open("rb") as file:
        if stat.st_size <= HASHED_WHOLE:
            yield hashlib.file_digest(file, "sha256").digest()
            return
        yield os.fsencode(f"{path.resolve()}\0{stat.st_size} {stat.st_mtime_ns}")
        yield file.read(2**20)
        file.seek(-(2**20), os.SEEK_END)
        yield file.read()


@contextmanager
def _damage_as_data_error(source: Path) -> Iterator[None]:
    try:
        yield
    except (
        OSError,
        EOFError,
        tarfile.TarError,
        lzma.LZMAError,
        zlib.error,
        zipfile.BadZipFile,
        NotImplementedError,  # zip: unknown compression
        RuntimeError,  # zip: encrypted; tar: headers of headers, too deep
    ) as error:
        raise DataError(
            "a data source must be readable and complete",
            got=f"{source} ({error or type(error).__name__})",
            remedy="Fetch or pack it again, and check its permissions",
        ) from None
