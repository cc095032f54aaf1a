"""The files of a source, from a folder, a tar or a zip, in one pass and with nothing unpacked to disk."""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from cifar.data.forms import IMAGE_SUFFIXES, OFFICIAL_FILES, OFFICIAL_FOLDER, TRAIN_BATCHES, unknown_form, unsplit
from cifar.errors import DataError

Member = tuple[PurePosixPath, Callable[[], bytes]]
"""A file's name within the source, and what reads it; to be read before the next one is asked for."""


def members(source: Path, *, classes: bool = False) -> Iterator[Member]:
    """The files of a source; an archive is recognised by its first bytes, not by its name.

    Args:
        source: an existing file or folder.
        classes: whether a folder may hold classes, without train/.

    Raises:
        DataError: in no accepted form.
    """
    if source.is_dir():
        return ((PurePosixPath(name), path.read_bytes) for name, path in folder_files(source, classes=classes))
    with source.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"PK"):
        return _zip_members(source)
    if head.startswith((b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh")) or head[257:262] == b"ustar":
        return _tar_members(source)
    raise unknown_form(source)


def _zip_members(source: Path) -> Iterator[Member]:
    with zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield PurePosixPath(info.filename), partial(archive.read, info)


def _tar_members(source: Path) -> Iterator[Member]:
    with tarfile.open(source, "r:*") as archive:
        for info in archive:
            name = PurePosixPath(info.name)
            if info.isfile():
                yield name, partial(_read_tar_member, archive, info)
            elif not info.isdir() and name.suffix.lower() in IMAGE_SUFFIXES:
                raise DataError(
                    "images in a tar must be plain files",
                    got=f"{source}: {name}, a link",
                    remedy="Pack it with tar --hard-dereference --dereference",
                )
        _require_end_of_archive(source, archive)


def _read_tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(info)
    assert file is not None  # plain files have content
    return file.read()


def _require_end_of_archive(source: Path, archive: tarfile.TarFile) -> None:
    """Tarfile takes a damaged header for the end; a real end is zeros to the sound end of the file."""
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    tail = archive.fileobj.read(-1)
    if len(tail) < tarfile.BLOCKSIZE or any(tail):
        raise tarfile.ReadError(f"damaged or cut after {archive.offset} bytes of tar")


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
    for parent, _, files in os.walk(folder, onerror=_raise, followlinks=True):
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
