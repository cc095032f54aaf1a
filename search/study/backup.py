"""Copies of a study's SQLite file: what damages it costs minutes, not the study.

The newest copy and the one before lie in the study's folder. SQLite itself makes them, as one state of the database
whatever is written meanwhile (https://www.sqlite.org/backup.html), and each is checked before it takes its place.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import optuna

from cifar.files import atomic_path
from search.settings import StudyError
from search.study.cached_storage import sqlite_file_of

COPIES = "backups"
"""Folder of the copies, in the study's."""
NEWEST, EARLIER = "newest.db", "earlier.db"
COPY_SECONDS = 600.0
"""Between two copies of a running search, at least."""


class Copies:
    """Copies a study's database now and then; a study on a database server has copies there.

    Args:
        study: the study.
        folder: the study's folder.
        clock: tells the time in seconds, which only grow.
    """

    def __init__(self, study: optuna.Study, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.database, self.folder, self.clock = sqlite_file_of(study), folder / COPIES, clock
        self.due = clock() + COPY_SECONDS

    def update(self) -> None:
        """Copies the database if it is time."""
        if self.clock() >= self.due:
            self.make()

    def make(self) -> None:
        """Copies the database; where there is no room for a copy, or it is locked for long, the last one stays.

        Raises:
            StudyError: it is damaged; the copies stay as they are.
        """
        self.due = self.clock() + COPY_SECONDS
        if self.database is not None:
            with suppress(OSError, sqlite3.OperationalError):
                self._replace(self.database, self.folder / NEWEST)

    def _replace(self, database: Path, newest: Path) -> None:
        with atomic_path(newest) as aside:
            _copy(database, aside, newest)
            if newest.exists():
                os.replace(newest, self.folder / EARLIER)


def _copy(database: Path, copy: Path, newest: Path) -> None:
    try:
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")  # one file, without a write-ahead log beside it
            found = target.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise damaged(database, newest, found)


def damaged(database: Path, newest: Path, found: str) -> StudyError:
    """The error for a database that is damaged, which says what to put in its place."""
    remedy = f"Remove {database}* and copy {newest} to {database}" if newest.exists() else "Give another --study"
    return StudyError("the study's database must be undamaged", got=f"{database}: {found}", remedy=remedy)
