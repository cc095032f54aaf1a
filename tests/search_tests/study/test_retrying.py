"""Outages of a storage are waited out for a while; what it refuses is told at once."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import OperationalError

from search.study.cached_storage import CachedStorage
from search.study.retrying import LONGEST_DELAY, OUTAGE_SECONDS, is_outage, retried


def gone() -> OperationalError:
    return OperationalError("SELECT 1", {}, ConnectionRefusedError("connection refused"))


class Outage:
    """A server that is away for so many seconds of its own clock."""

    def __init__(self, seconds: float) -> None:
        self.now, self.until, self.waits = 0.0, seconds, list[float]()

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def call(self) -> str:
        if self.now < self.until:
            raise gone()
        return "answer"


def test_a_server_that_is_away_for_20_seconds_costs_nothing() -> None:
    outage = Outage(20.0)
    assert retried(outage.call, lambda: outage.now, outage.sleep) == "answer"
    assert outage.waits == sorted(outage.waits)
    assert max(outage.waits) == LONGEST_DELAY


def test_one_that_stays_away_is_an_error() -> None:
    outage = Outage(10 * OUTAGE_SECONDS)
    with pytest.raises(OperationalError, match="connection refused"):
        retried(outage.call, lambda: outage.now, outage.sleep)
    assert OUTAGE_SECONDS - LONGEST_DELAY <= outage.now <= OUTAGE_SECONDS


def test_what_the_storage_refuses_is_not_asked_again() -> None:
    def refuse() -> None:
        asked.append(1)
        raise KeyError("no such study")

    asked: list[int] = []
    with pytest.raises(KeyError, match="no such study"):
        retried(refuse, sleep=lambda seconds: pytest.fail("waited"))
    assert asked == [1]


def test_a_locked_file_is_an_outage_and_a_missing_table_is_none(workplace: Path) -> None:
    storage = RDBStorage("sqlite:///study.db", engine_kwargs={"connect_args": {"timeout": 0}})
    study = optuna.create_study(storage=storage)
    with closing(sqlite3.connect("study.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageInternalError) as caught:
            study.set_user_attr("a", 1)
        assert is_outage(caught.value)
        other.execute("ROLLBACK")
        other.execute("DROP TABLE study_user_attributes")
    with pytest.raises(StorageInternalError) as caught:
        study.set_user_attr("a", 1)
    assert not is_outage(caught.value)


def test_a_study_bears_a_file_that_is_locked_for_a_moment(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = RDBStorage("sqlite:///study.db", engine_kwargs={"connect_args": {"timeout": 0}})
    study = optuna.create_study(storage=CachedStorage(storage))
    tried: list[int] = []
    with closing(sqlite3.connect("study.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")

        def unlock(*_: object) -> None:
            tried.append(1)
            if len(tried) == 2:
                other.execute("ROLLBACK")

        sqlalchemy.event.listen(storage.engine, "handle_error", unlock)
        study.set_user_attr("a", 1)
    assert study.user_attrs == {"a": 1}
    assert len(tried) == 2
