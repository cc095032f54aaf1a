"""Durable storage of studies.

The default is SQLite in write-ahead mode: it survives a killed process and a full disk, and with `synchronous =
NORMAL` one commit costs no disk flush (a power cut may lose the last commits but never damages the file;
https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.engine import make_url

from cifar.text import without_password
from search.settings import SearchSettings, StudyError
from search.study.backup import COPIES, NEWEST, damaged
from search.study.cached_storage import CachedStorage
from search.study.mounts import network_filesystem
from search.study.retrying import reason_of

DATABASE = "study.db"
LOCK_SECONDS = 60.0
DRIVERS = {
    "postgresql": "psycopg2-binary",
    "psycopg2": "psycopg2-binary",
    "psycopg": "'psycopg[binary]'",
    "mysql": "mysqlclient",
    "mysqldb": "mysqlclient",
    "pymysql": "pymysql",
}
"""Packages of the drivers that a URL may name, after its `+`; a database's own name stands for its usual one
(https://docs.sqlalchemy.org/en/20/core/engines.html#database-urls)."""
MYSQL_TABLE_EXISTS = 1050  # https://mariadb.com/kb/en/mariadb-error-code-reference/
SCHEMA_WAITS = (0.2, 1.0, 3.0)  # seconds until a server's tables are looked for again


def storage_url(settings: SearchSettings) -> str:
    """The URL or journal path of the study's storage, as `optuna-dashboard` takes it."""
    return settings.storage or f"sqlite:///{(settings.folder / DATABASE).as_posix()}"


def shown_url(settings: SearchSettings) -> str:
    """`storage_url` without a password."""
    return without_password(storage_url(settings))


def exists(settings: SearchSettings) -> bool:
    """Whether the storage may hold anything; True for servers, which only a connection can tell.

    Raises:
        StudyError: not an Optuna storage.
    """
    url = storage_url(settings)
    with _told(settings):
        database = make_url(url).database if url.startswith("sqlite") else url if "://" not in url else None
        return database is None or Path(database).exists()


def open_storage(settings: SearchSettings) -> BaseStorage:
    """The storage, created where it does not exist; safe when several processes start at once.

    Raises:
        StudyError: not an Optuna storage, unreachable, or damaged; or SQLite on a network folder.
    """
    url = storage_url(settings)
    with _told(settings):
        if "://" not in url:
            return JournalStorage(JournalFileBackend(url))
        return CachedStorage(optuna.storages.get_storage(_sqlite(url)) if url.startswith("sqlite") else _server(url))


@contextmanager
def _told(settings: SearchSettings) -> Iterator[None]:
    """What goes wrong with the storage in the block becomes one line, without the storage's password."""
    try:
        yield
    except (
        optuna.exceptions.StorageInternalError,
        sqlalchemy.exc.SQLAlchemyError,
        sqlite3.Error,
        ImportError,
        ValueError,
        OSError,
        RuntimeError,
    ) as error:
        reason = reason_of(error)
        if isinstance(error, ImportError):
            raise _without_driver(settings, error) from None
        database, newest = settings.folder / DATABASE, settings.folder / COPIES / NEWEST
        if settings.storage is None and newest.exists():
            raise damaged(database, newest, reason) from None
        raise StudyError(
            "--storage must be a reachable, undamaged Optuna storage",
            got=f"{shown_url(settings)} ({reason})",
            remedy="Give a URL such as sqlite:///study.db or postgresql://user@host/db, or leave it out",
        ) from None  # its text may hold the password


def _without_driver(settings: SearchSettings, error: ImportError) -> StudyError:
    """What a user is told whose environment cannot speak with the database."""
    scheme = storage_url(settings).partition("://")[0]
    named = scheme.partition("+")[2] or scheme
    remedy = f"pip install {DRIVERS[named]}" if named in DRIVERS else "Install it"
    return StudyError(
        "--storage needs its database's driver for Python",
        got=f"{shown_url(settings)} ({error.__cause__ or error})",
        remedy=remedy,
    )


def _sqlite(url: str) -> RDBStorage:
    database = make_url(url).database
    if not database or database == ":memory:":
        raise ValueError("a search needs a database file")
    path = Path(database)
    if kind := network_filesystem(path):
        raise StudyError(
            "a SQLite file must lie on a local disk: on a network folder it would be damaged",
            got=f"{path}, on {kind}",
            remedy="Give --storage with a database server's URL, a journal file such as study.journal, or a local path",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    # two processes that create the schema at once make one of them fail
    with FileLock(path.with_suffix(".lock"), timeout=LOCK_SECONDS):
        with closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # stays in the file
        storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": LOCK_SECONDS}})
    storage.engine.dispose()  # its connections so far lack the setting below, which is one of each connection
    sqlalchemy.event.listen(storage.engine, "connect", _set_synchronous)
    return storage


@cache
def _server(url: str) -> BaseStorage:
    """A database server's storage, one for all studies that a process opens, since each keeps connections open.

    Of several calls that create its tables at once all but one fail, and try again.
    """
    for wait in SCHEMA_WAITS:
        try:
            return optuna.storages.get_storage(url)
        except (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.ProgrammingError):  # they exist by now
            time.sleep(wait)
        except sqlalchemy.exc.OperationalError as error:
            if error.orig is None or error.orig.args[0] != MYSQL_TABLE_EXISTS:
                raise
            time.sleep(wait)
    return optuna.storages.get_storage(url)


def _set_synchronous(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")
