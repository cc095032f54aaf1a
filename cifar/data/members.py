"""The files of a source, from a folder, a tar or a zip, in one pass and with nothing unpacked to disk."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from cifar.data.forms import IMAGE_SUFFIXES, OFFICIAL_FILES, OFFICIAL_FOLDER, TRAIN_BATCHES, unknown_form, unsplit
from cifar.data.growth import FILE_BYTES, BoundedStream, Growth
from cifar.errors import DataError
from cifar.files import open_plain
from cifar.text import printable

Member = tuple[PurePosixPath, Callable[[], bytes]]
"""A file's name within the source, and what reads it; to be read before the next one is asked for."""

COMPRESSED: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ\0": lzma.open, b"BZh": bz2.open}
"""What opens a compressed file, by its first bytes."""
PADDING_BYTES = 16 * 2**20
"""Zeros after the last file of a tar at most; GNU tar fills its last record, of 10 kB, or as long as it is told."""


def members(source: Path, growth: Growth, *, classes: bool = False) -> Iterator[Member]:
    """The files of a source; an archive is recognised by its first bytes, not by its name.

    Args:
        source: an existing file or folder.
        growth: counts what comes out of it.
        classes: whether a folder may hold classes, without train/.

    Raises:
        DataError: in no accepted form, or more in it than a source of its size may hold.
    """
    if source.is_dir():
        files = folder_files(source, classes=classes)
        return ((PurePosixPath(name), partial(_read_file, path, growth)) for name, path in files)
    with source.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"PK"):
        return _zip_members(source, growth)
    opened = next((opened for start, opened in COMPRESSED.items() if head.startswith(start)), None)
    if opened is not None or head[257:262] == b"ustar":
        return _tar_members(source, growth, opened or open_plain)
    raise unknown_form(source)


def _read_file(path: Path, growth: Growth) -> bytes:
    with open_plain(path) as file:
        content = file.read(FILE_BYTES + 1)
    growth.on_disk += len(content)
    growth.file(path, len(content))
    return content


def _zip_members(source: Path, growth: Growth) -> Iterator[Member]:
    with zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            growth.entry(info.filename)
            if not info.is_dir():
                yield PurePosixPath(info.filename), partial(_read_zip_member, archive, info, growth)


def _read_zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, growth: Growth) -> bytes:
    growth.file(info.filename, info.file_size)
    with archive.open(info) as file:
        return file.read(info.file_size + 1)  # `archive.read` would decompress more than it is told, and keep less


def _tar_members(source: Path, growth: Growth, opened: Callable[[Path], Any]) -> Iterator[Member]:
    with opened(source) as file, tarfile.open(mode="r:", fileobj=_bounded(file, growth)) as archive:
        for info in archive:
            growth.entry(info.name)
            name = PurePosixPath(info.name)
            if info.isfile():
                yield name, partial(_read_tar_member, archive, info, growth)
            elif not info.isdir() and name.suffix.lower() in IMAGE_SUFFIXES:
                raise DataError(
                    "images in a tar must be plain files",
                    got=f"{source}: {printable(name, 200)}, a link",
                    remedy="Pack it with tar --hard-dereference --dereference",
                )
        _require_end_of_archive(source, archive)


def _bounded(file: BinaryIO, growth: Growth) -> BinaryIO:
    return cast(BinaryIO, BoundedStream(file, growth))  # it has what tarfile uses


def _read_tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo, growth: Growth) -> bytes:
    growth.file(info.name, info.size)
    file = archive.extractfile(info)
    assert file is not None  # plain files have content
    return file.read()


def _require_end_of_archive(source: Path, archive: tarfile.TarFile) -> None:
    """Tarfile takes a damaged header for the end; a real end is zeros to the sound end of the file."""
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    tail = archive.fileobj.read(PADDING_BYTES)
    if len(tail) < tarfile.BLOCKSIZE or tail.strip(b"\0"):
        raise tarfile.ReadError(f"damaged or cut after {archive.offset} bytes of tar")
    if len(tail) == PADDING_BYTES:
        raise tarfile.ReadError(f"more than {PADDING_BYTES // 2**20} MiB of zeros after {archive.offset} bytes of tar")


def folder_files(folder: Path, *, classes: bool = False) -> Iterator[tuple[str, Path]]:
    """Name within the data set, and place on disk, of every file of an official folder or image tree.

    Args:
        folder: the source.
        classes: whether it may hold classes, without train/.

    Raises:
        DataError: in no accepted form.
    """
    for official in (folder, folder / OFFICIAL_FOLDER):
        if (official / TRAIN_BATCHES[0]).is_file():
            return _official_files(official)
    root = _tree_root(folder)
    if root is not None:
        return (file for split in ("train", "test") if (root / split).is_dir() for file in _files(root, root / split))
    files = list(_files(folder, folder))
    if not any("/" in name and Path(name).suffix.lower() in IMAGE_SUFFIXES for name, _ in files):
        raise unknown_form(folder)
    if not classes:
        raise unsplit(folder)
    return iter(files)


def _official_files(folder: Path) -> Iterator[tuple[str, Path]]:
    for name in OFFICIAL_FILES:
        if (folder / name).is_file():
            yield f"{OFFICIAL_FOLDER}/{name}", folder / name


def _files(root: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file below a folder, with its name from the root on."""
    met: set[tuple[int, int]] = set()
    for parent, _, files in os.walk(folder, onerror=_raise, followlinks=True):
        stat = os.stat(parent)
        if (stat.st_dev, stat.st_ino) in met:
            raise DataError(
                "links must lead to a folder of a data source once, or they could go round in circles",
                got=printable(parent, 200),
                remedy="Remove the link that leads there again",
            )
        met.add((stat.st_dev, stat.st_ino))
        for file in files:
            path = Path(parent, file)
            yield path.relative_to(root).as_posix(), path


def _raise(error: OSError) -> None:
    raise error


def _tree_root(folder: Path) -> Path | None:
    """The folder that holds train/; None where there is none, or more than one."""
    if (folder / "train").is_dir():
        return folder
    roots = [child for child in folder.iterdir() if (child / "train").is_dir()]
    return roots[0] if len(roots) == 1 else None
