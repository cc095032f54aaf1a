"""One call at a time: what several calls on one study must not do at once.

Optuna's storages can claim a queued trial atomically, but not a paused one, which is running; nor can they begin a
trial only if there are fewer than so many. Such a step is taken under a lock of the whole study, and looks again at
what it changes. The lock ends with its holder, whatever ends that.

One conditional UPDATE of a paused trial would not do in place of the lock. A trial that was closed is claimed by making
the trial that resumes it, and an UPDATE before that would lose the trial where its claimer dies between the two. And
whoever recovers trials decides about several rows, which must stay as they were read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import optuna
import sqlalchemy
from filelock import FileLock

from search.study.cached_storage import durable_of, sqlite_file_of
from search.study.optuna_internals import engine_of, id_of_study, journal_of
from search.study.retrying import retried

DIRECTION = sqlalchemy.text("SELECT study_id FROM study_directions WHERE study_id = :study FOR UPDATE")
"""Locks a row that belongs to the study and that nobody ever writes, so that Optuna's own locks are not in the way."""

KEEPALIVES = [
    sqlalchemy.text(f"SET {name}")
    for name in ("tcp_keepalives_idle = 10", "tcp_keepalives_interval = 10", "tcp_keepalives_count = 3")
]
"""Of PostgreSQL, until the transaction ends: a machine without power is noticed, and its lock released, in 40 seconds
instead of two hours. https://www.postgresql.org/docs/current/runtime-config-connection.html"""


def exclusive(study: optuna.Study) -> AbstractContextManager[object]:
    """A block that only one process at a time is in, of all that use the study's storage; never within another.

    A file (SQLite or a journal) has a lock file beside it, which the kernel unlocks when its holder dies. A database
    server locks a row of the study until the connection ends. What is in memory has no other process.
    """
    durable = durable_of(study)
    engine, path = engine_of(durable), journal_of(durable) or sqlite_file_of(study)
    if engine is not None and engine.dialect.name != "sqlite":
        return _row_locked(engine, id_of_study(study))
    return nullcontext() if path is None else FileLock(path.with_name(f"{path.name}.claims.lock"))


@contextmanager
def _row_locked(engine: sqlalchemy.Engine, study_id: int) -> Iterator[None]:
    with retried(lambda: lock_row(engine, study_id)):  # closing a connection ends what it locked
        yield


def lock_row(engine: sqlalchemy.Engine, study_id: int) -> sqlalchemy.Connection:
    """A connection that has locked the study's row."""
    connection = engine.connect()
    try:
        for setting in KEEPALIVES if engine.dialect.name == "postgresql" else []:
            connection.execute(setting)
        connection.execute(DIRECTION, {"study": study_id})
    except BaseException:
        connection.close()
        raise
    return connection
