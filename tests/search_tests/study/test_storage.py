"""Durable storage: write-ahead SQLite, journal files, several processes at once, and what is refused."""

from __future__ import annotations

import multiprocessing
import re
import sqlite3
import sys
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

import search.report
import search.run
import search.show
from search.cli import run_command
from search.settings import SearchSettings, StudyError
from search.study.mounts import network_filesystem
from search.study.storage import open_storage, shown_url
from search.study.study import find_study, require_study
from tests.search_tests.study.storage_process import open_and_tell


@pytest.fixture
def ready_tables() -> None:
    """Here Optuna makes the tables of each study."""


def test_the_default_is_sqlite_in_write_ahead_mode() -> None:
    settings = SearchSettings()
    storage = open_storage(settings)
    used: list[int] = []

    def look(connection: sqlite3.Connection, _record: object, _proxy: object) -> None:
        used.extend(connection.execute("PRAGMA synchronous").fetchone())

    sqlalchemy.event.listen(sqlalchemy.pool.Pool, "checkout", look)
    try:
        optuna.create_study(study_name="s", storage=storage)
    finally:
        sqlalchemy.event.remove(sqlalchemy.pool.Pool, "checkout", look)
    assert set(used) == {1}  # NORMAL
    with sqlite3.connect("studies/resnet_budget5m/study.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_several_processes_may_create_it_at_once() -> None:
    settings = SearchSettings(study="shared")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([open_and_tell.__module__, "alembic.migration"])  # which Optuna imports late
    workers = [context.Process(target=open_and_tell, args=(settings,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    trials = require_study(settings).trials
    assert [t.number for t in trials] == list(range(12))
    assert {t.state for t in trials} == {TrialState.COMPLETE}


def test_a_journal_file_serves_too(workplace: Path) -> None:
    settings = SearchSettings(storage=str(workplace / "study.journal"))
    open_and_tell(settings)
    assert len(require_study(settings).trials) == 3


def test_looking_for_a_study_creates_nothing(workplace: Path) -> None:
    assert find_study(SearchSettings()) is None
    with pytest.raises(StudyError, match=r"the study must exist; got 'resnet_budget5m'.*search\.run"):
        require_study(SearchSettings())
    assert not (workplace / "studies").exists()


def test_a_damaged_database_is_refused_in_one_line(workplace: Path) -> None:
    (workplace / "bad.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(StudyError, match="must be a reachable, undamaged Optuna storage") as caught:
        open_storage(SearchSettings(storage=f"sqlite:///{workplace}/bad.db"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "module", "package"),
    [
        ("postgresql+psycopg", "psycopg", r"'psycopg\[binary\]'"),
        ("mysql+pymysql", "pymysql", "pymysql"),
        ("mysql", "MySQLdb", "mysqlclient"),
    ],
)
def test_a_missing_driver_is_told_with_its_package(
    scheme: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    shown = re.escape(f"got {scheme}://me:***@nowhere.invalid/db (")
    with pytest.raises(StudyError, match=rf"driver for Python; {shown}.*{module}.*\)\. pip install {package}\."):
        open_storage(SearchSettings(storage=f"{scheme}://me:s3cret@nowhere.invalid/db"))


@pytest.mark.parametrize("url", ["nonsense://x", "sqlite://", "redis://localhost"])
def test_unusable_urls_are_refused(url: str) -> None:
    with pytest.raises(StudyError, match="--storage"):
        open_storage(SearchSettings(storage=url))


def test_passwords_are_not_shown() -> None:
    shown = shown_url(SearchSettings(storage="postgresql://me:secret@host/db"))
    assert "secret" not in shown
    assert "me" in shown


@pytest.fixture
def mounts(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders on a network: `nfs share`, with a local disk mounted below it, and `over`, a share that hides a disk."""
    share, over = str(workplace / "nfs share").replace(" ", r"\040"), workplace / "over"
    lines = [
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw",
        f"36 22 0:50 / {share} rw,relatime shared:2 master:1 - nfs4 server:/home rw,vers=4.2",
        f"37 36 8:2 / {share}/disk rw,relatime - xfs /dev/sdb1 rw",
        f"38 22 8:3 / {over} rw - ext4 /dev/sdc1 rw",
        f"39 38 0:51 / {over} rw - cifs //server/home rw",
    ]
    (workplace / "mountinfo").write_text("\n".join(lines) + "\n")
    monkeypatch.setattr("search.study.mounts.MOUNTS", workplace / "mountinfo")
    return workplace


def test_sqlite_on_a_network_folder_is_refused(mounts: Path) -> None:
    found = {
        place: network_filesystem(mounts / place / "study.db")
        for place in ("nfs share/studies", "nfs share/disk", "nfs shares", "over", ".")
    }
    assert found == {"nfs share/studies": "nfs4", "nfs share/disk": None, "nfs shares": None, "over": "cifs", ".": None}
    with pytest.raises(StudyError, match=r"must lie on a local disk.*study\.db, on nfs4\. Give --storage"):
        open_storage(SearchSettings(storage=f"sqlite:///{mounts}/nfs share/study.db"))
    assert not (mounts / "nfs share").exists()
    open_storage(SearchSettings(storage=f"{mounts}/study.journal"))


def test_where_mounts_are_not_known_nothing_is_refused(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert network_filesystem(workplace) is None  # tests do not run on a share
    monkeypatch.setattr("search.study.mounts.MOUNTS", workplace / "none")
    assert network_filesystem(workplace) is None


BAD = [
    "://",
    "://me:s3cret@host",
    "postgresql://me:s3cret@nowhere.invalid:1/db",
    "postgresql://nowhere.invalid:1/db?password=s3cret",
    "postgresql://me:s3cret@[/db",
    "sqlite:s3cret",
    "sqlite://me:s3cret@host",
    "mysql+nothing://me:s3cret@host/db",
]


@pytest.mark.parametrize("url", BAD)
def test_no_storage_is_told_in_one_line_without_its_password(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["--storage", url, "--study", "s", "--trials", "1", "--device", "cpu"]
    assert run_command(search.run.main, arguments) == 2
    out, told = capfd.readouterr()
    rules = ("must be a reachable, undamaged Optuna storage", "needs its database's driver for Python")
    assert told.startswith(tuple(f"error: --storage {rule}; got " for rule in rules))
    assert told.count("\n") == 1
    assert "s3cret" not in (out + told).replace("sqlite:s3cret", "")


def test_a_password_is_in_nothing_that_a_search_prints_or_writes(
    curves: str, workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # SQLite takes no password, but its URL may have a query as any other
    url = f"sqlite:///{workplace}/own.db?timeout=60&check_same_thread=0&uri=true&password=s3cret"
    line = ["--space", curves, "--study", "s", "--storage", url, "--trials", "3"]
    assert run_command(search.run.main, line) == 0
    out, err = capfd.readouterr()
    assert "password=***" in out
    assert "s3cret" not in out + err
    for path in workplace.rglob("*"):
        assert not path.is_file() or b"s3cret" not in path.read_bytes(), path


def test_a_token_in_the_environment_is_in_nothing_that_commands_print_or_write(
    curves: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("WANDB_API_KEY", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "MY_TOKEN"):
        monkeypatch.setenv(name, "t0ken")
    Path("bad.py").write_text("1 / 0\n")
    assert run_command(search.run.main, ["--space", curves, "--study", "s", "--trials", "3"]) == 0
    assert run_command(search.report.main, ["--study", "s"]) == 0
    assert run_command(search.show.main, ["--study", "s"]) == 0
    assert run_command(search.run.main, ["--space", "bad.py", "--trials", "3"]) == 2
    out, err = capfd.readouterr()
    assert "t0ken" not in out + err
    for path in workplace.rglob("*"):
        assert not path.is_file() or b"t0ken" not in path.read_bytes(), path


def test_misplaced_urls_are_told_without_their_password(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_command(search.run.main, ["--store", "postgresql://me:s3cret@host/db"])
    assert "s3cret" not in "".join(capfd.readouterr())
