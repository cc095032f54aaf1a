"""Files that are either whole or absent, whenever the process is killed.

A temporary file beside the place is written, synced and renamed; plain writing to the final name leaves a corrupt
file when killed.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from cifar.errors import CheckpointError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""What the system says where a disk, or a user's share of it, is full."""


def open_plain(path: Path) -> BinaryIO:
    """An ordinary file, open for reading; opening a pipe would wait for a writer, and reading a device never ends.

    Raises:
        OSError: no such file, not readable, or not an ordinary one.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a folder is refused in the system's own words
        raise OSError(errno.EINVAL, "no ordinary file", str(path))
    return path.open("rb")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """An empty file beside `path`, for a program that writes files by name.

    It takes the place of `path` when the block ends without an exception, and is removed otherwise. A killed process
    leaves it behind, as `.<name>.<random>.tmp`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Makes a rename in the folder survive a power cut, where the system can."""
    with suppress(OSError):  # Windows opens no folders, and some file systems sync none
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` when the block ends without an exception."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:  # flushed when closed, synced after that
        yield file


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` as UTF-8, whole or not at all."""
    with atomic_write(path) as file:
        file.write(text.encode())


def write_json(path: Path, data: object) -> None:
    """Writes `data` to `path` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(data, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`.

    Raises:
        CheckpointError: no such file, or no JSON object in it.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            "a trained model is a folder with weights.pt, candidate.json and model.json",
            got=f"no {path}",
            remedy="Give the folder that python -m search.retrain printed",
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} must be valid JSON", got=str(error), remedy="Retrain the model") from None
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} must hold an object", got=type(data).__name__, remedy="Retrain the model")
    return data
