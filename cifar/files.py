"""Files that are either whole or absent, whenever the process is killed.

A temporary file beside the place is written, synced and renamed; plain writing to the final name leaves a corrupt
file when killed.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from cifar.errors import CheckpointError


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` when the block ends without an exception."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    try:
        with open(temporary, "wb") as file:  # by name, so that the writer may read it back
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


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
