"""Calls of a storage that are tried again while its database cannot be reached.

A server that restarts, a network that is away for a while, a SQLite file that another process keeps locked: none of
them should cost a search. A call may be carried out twice where only its answer was lost; whoever tells a trial must
therefore bear that it is finished already, and a trial that nobody claims is recovered (`search.study.recovery`).
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from cifar.text import without_password
from search.settings import StudyError

OUTAGE_SECONDS = 60.0  # after which an outage is an error
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0  # seconds between two tries; each is twice the one before
BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)  # https://www.sqlite.org/rescode.html

T = TypeVar("T")


class Retrying:
    """A storage whose methods are tried again while its database cannot be reached.

    What lasts longer, a full disk or a damaged file, is a `StudyError`.

    Args:
        storage: the storage.
    """

    def __init__(self, storage: object) -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._storage, name)

        def call(*given: Any, **named: Any) -> Any:
            try:
                return retried(lambda: method(*given, **named))
            except (StorageInternalError, DBAPIError, json.JSONDecodeError) as error:
                raise lasting(error) from error

        return call


def retried(
    call: Callable[[], T],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    passes: Callable[[Exception], bool] | None = None,
) -> T:
    """What the call gives, tried again for as long as an outage may take.

    Args:
        call: may be made twice.
        clock: tells the time in seconds, which only grow.
        sleep: waits so many seconds.
        passes: whether what is raised may be that of an outage; None knows those of databases.
    """
    deadline, delay = clock() + OUTAGE_SECONDS, FIRST_DELAY
    while True:
        try:
            return call()
        except Exception as error:
            if not (passes or is_outage)(error) or clock() + delay > deadline:
                raise
        sleep(delay)
        delay = min(2 * delay, LONGEST_DELAY)


def lasting(error: Exception) -> StudyError:
    """What a user is told of an error of the storage that does not pass."""
    return StudyError(
        "the study's storage must be reachable, undamaged and have room",
        got=reason_of(error),
        remedy="Free room on its disk; a damaged study.db has a copy in the study's folder, see docs/reliability.md",
    )


def reason_of(error: Exception) -> str:
    """What the database said, in one line and without a password."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    reason = cause.orig if isinstance(cause, DBAPIError) else cause
    return without_password(str(reason or error).partition("\n")[0])


def is_outage(error: BaseException) -> bool:
    """Whether the database could not be reached, or a SQLite file was locked; not that it refused what it was asked."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if not isinstance(cause, OperationalError | InterfaceError):
        return False
    if isinstance(cause.orig, sqlite3.Error):
        return getattr(cause.orig, "sqlite_errorcode", 0) & 0xFF in BUSY  # the low byte is the primary code
    return True
