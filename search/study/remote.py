"""Checkpoints in a cloud folder such as s3://bucket/folder: what they need of `pathlib.Path`, by fsspec.

fsspec comes with PyTorch; a package for the store itself, such as s3fs, is the user's to install, and how it signs in
is that package's affair. A file is uploaded beside its place and moved there: it is whole or absent, in any store.
It is read from a copy on this machine, whose checksums are compared as those of any checkpoint.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from cifar.text import SECRETS, without_password
from search.settings import StudyError
from search.study.retrying import retried

PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}
"""Packages to install for the stores that are met most, by the beginning of their URLs."""

T = TypeVar("T")


class StoreError(StudyError):
    """A store cannot be used, or could not be reached for as long as an outage may take."""


class Figures(NamedTuple):
    """What `RemotePath.stat` tells, by the names of `os.stat_result`."""

    st_size: int
    """Bytes."""
    st_mtime: float
    """When it was written, in seconds since 1970."""


@dataclass(frozen=True)
class RemotePath:
    """A file or folder in a store; plain data, so that it can be sent to workers.

    Raises:
        StoreError: in all methods, if the store cannot be used or reached.
    """

    url: str
    """Where it is, without any password."""

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self.url.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.rpartition("/")[2]

    def exists(self) -> bool:
        """Whether there is such a file, as the store says now."""

        def look(store: Any, path: str) -> None:
            store.invalidate_cache()
            store.info(path)  # fsspec's `exists` takes any error for a no

        with suppress(FileNotFoundError):
            self._asked(look, patient=True)
            return True
        return False

    def read_text(self) -> str | None:
        """The content of a small file; None where there is none."""
        with suppress(FileNotFoundError):
            return self._asked(lambda store, path: bytes(store.cat_file(path)).decode())
        return None

    def stat(self) -> Figures:
        """Size and time of a file."""
        size, written = self._asked(lambda store, path: (store.size(path), store.modified(path)))
        return Figures(int(size), written.timestamp())

    def glob(self, pattern: str) -> list[RemotePath]:
        """The folder's files whose names match; none of a folder that is not there."""
        return [self / name for name in sorted(self.sizes()) if fnmatchcase(name, pattern)]

    def sizes(self) -> dict[str, int]:
        """The bytes of the folder's files, by their names."""

        def look(store: Any, path: str) -> dict[str, int]:
            store.invalidate_cache()
            found = store.ls(path, detail=True)
            return {e["name"].rpartition("/")[2]: int(e["size"] or 0) for e in found if e["type"] == "file"}

        with suppress(FileNotFoundError):
            return self._asked(look)
        return {}

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes a file."""
        try:
            self._asked(lambda store, path: store.rm_file(path))
        except FileNotFoundError:
            if not missing_ok:
                raise

    def make_folder(self) -> None:
        """Makes the folder where stores have such; never the bucket or folder that it is in."""

        def make(store: Any, path: str) -> None:
            if not store.isdir(path):
                with suppress(FileExistsError):
                    store.mkdir(path, create_parents=False)

        try:
            self._asked(make)
        except FileNotFoundError:
            inside = self.url.rpartition("/")[0]
            raise StoreError(
                "--checkpoints must be a folder in a bucket that exists", got=f"no {inside}", remedy="Create it"
            ) from None

    def upload(self, file: Path) -> None:
        """Takes the content of a file on this machine, whole or not at all."""
        beside = f".{self.name}.{secrets.token_hex(6)}.tmp"  # named as those of `cifar.files.atomic_path`

        def put(store: Any, path: str) -> None:
            temporary = f"{path.rpartition('/')[0]}/{beside}"
            store.put_file(str(file), temporary)
            store.mv(temporary, path)

        self._asked(put, patient=True)

    def download(self, file: Path) -> None:
        """Writes the content to a file on this machine; FileNotFoundError where there is none."""
        self._asked(lambda store, path: store.get_file(path, str(file)), patient=True)

    def _asked(self, ask: Callable[[Any, str], T], *, patient: bool = False) -> T:
        """What a store answers, as it is or, patiently, once it can be reached; its other errors become one line."""
        try:
            store, path = _opened(self.url)
            if patient:
                return retried(lambda: ask(store, path), passes=_may_pass)
            return ask(store, path)
        except (FileNotFoundError, StoreError):
            raise
        except Exception as error:  # each store raises its own
            said = (str(error).splitlines() or [""])[0]
            raise StoreError(
                "the store of the checkpoints must be reachable, and let them be read and written",
                got=without_password(f"{self.url} ({type(error).__name__}: {said})"),
                remedy="Check its address, and how this machine signs in there",
            ) from None


Place = Path | RemotePath
"""A folder or file of checkpoints."""


def place_of(text: str) -> Place:
    """The folder that `--checkpoints` names: a URL, or a path.

    Raises:
        StoreError: the URL holds a password, which would be stored with the study.
    """
    if "://" not in text:
        return Path(text)
    if SECRETS.search(text):
        rule = "--checkpoints is stored with the study, so it must hold no password"
        raise StoreError(rule, got=without_password(text), remedy="Let the store's own settings sign in")
    return RemotePath(text.rstrip("/"))


@contextmanager
def local_copy(file: Place) -> Iterator[Path]:
    """The file itself, or a copy of a remote one for as long as the block lasts; absent where there is none."""
    if isinstance(file, Path):
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="checkpoint-") as folder:
        copy = Path(folder) / file.name
        with suppress(FileNotFoundError):
            file.download(copy)
        yield copy


@contextmanager
def written_to(file: Place) -> Iterator[Path]:
    """Where a file is to be written on this machine, which a remote one then takes; its folder is there."""
    if isinstance(file, Path):
        file.parent.mkdir(parents=True, exist_ok=True)  # a space of its own writes to what is there
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="checkpoint-") as folder:
        copy = Path(folder) / file.name
        yield copy
        file.upload(copy)


def _opened(url: str) -> tuple[Any, str]:
    """The store of a URL and the path in it."""
    from fsspec.core import url_to_fs

    scheme = url.partition("://")[0]
    try:
        store, path = url_to_fs(url)
    except ImportError as error:
        install = f"pip install {PACKAGES[scheme]}" if scheme in PACKAGES else str(error)
        raise StoreError(
            f"checkpoints at {scheme}:// need a package for that store", got="not installed", remedy=install
        ) from None
    except ValueError as error:
        known = "Give a folder, or a URL such as s3://bucket/folder"
        raise StoreError("--checkpoints must be a folder or a URL that fsspec knows", got=error, remedy=known) from None
    return store, path


def _may_pass(error: Exception) -> bool:
    """Whether an error may be that of an outage: what is not there, or forbidden, will be so again."""
    return not isinstance(error, FileNotFoundError | PermissionError | StoreError)
