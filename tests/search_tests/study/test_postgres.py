"""Several calls on a database server: a PostgreSQL of the test's own, on loopback."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from search.settings import SearchSettings
from search.study.attributes import WORKER
from search.study.exclusion import exclusive
from search.study.storage import open_storage
from search.study.study import require_study
from search.study.trials import counted
from tests.search_tests.logged_space import logged_space
from tests.search_tests.study.conftest import Together
from tests.search_tests.study.test_several_calls import TOGETHER, assert_sound

pytestmark = [pytest.mark.postgres, pytest.mark.slow]
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))  # where Debian's package has them
USER = ["runuser", "-u", "postgres", "--"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # it refuses root
KILLED = "if epoch == 2 and not Path('killed').exists(): Path('killed').touch(); os.kill(os.getpid(), signal.SIGKILL)"


class Server:
    """A PostgreSQL server in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._run("initdb", "--pgdata", str(folder / "data"), "--auth", "trust", "--username", "me")
        self.start()

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        return f"postgresql+psycopg://me@127.0.0.1:{self.port}/{database}"

    def empty_database(self, name: str) -> str:
        """URL of a new database, without any tables."""
        self._run("createdb", "--host", "127.0.0.1", "--port", str(self.port), "--username", "me", name)
        return self.url_of(name)

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self.port} -k {self.folder} -c fsync=off"  # the machine will not lose its power
        self._control("start", "--log", str(self.folder / "log"), "--options", options)

    def stop(self) -> None:
        self._control("stop", "--mode", "immediate")

    def _control(self, action: str, *options: str) -> None:
        self._run("pg_ctl", "--wait", "--pgdata", str(self.folder / "data"), action, *options)

    def _run(self, program: str, *arguments: str) -> None:
        line = [*USER, str(PROGRAMS[-1] / program), *arguments]
        subprocess.run(line, check=True, cwd=self.folder, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    pytest.importorskip("psycopg")
    if not PROGRAMS:
        pytest.skip("no PostgreSQL to start: install the package postgresql")
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))  # short enough for a socket, and postgres may enter
    if USER:
        shutil.chown(folder, "postgres")
    running = Server(folder)
    yield running
    running.stop()
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def _pools_go_with_their_study() -> Iterator[None]:
    """Connections of a pool that nobody closes are no leak here."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_calls_that_start_together_share_the_trials_wanted(server: Server, workplace: Path, together: Together) -> None:
    space = logged_space(workplace, starts=(0.5, 0.25), before=TOGETHER.format(calls=3))
    settings = SearchSettings(space=space, storage=server.empty_database("three"), max_trials=14)
    assert together(settings, 3) == [0, 0, 0]
    study = require_study(settings)
    assert counted(study.trials) == 14
    assert_sound(study, workplace)
    assert len({t.user_attrs[WORKER]["id"] for t in study.trials}) == 3


@pytest.mark.parametrize("attempt", range(10))
def test_eight_calls_at_once_bear_that_one_is_killed(
    attempt: int, server: Server, workplace: Path, together: Together
) -> None:
    space = logged_space(workplace, starts=(0.5, 0.25), before=KILLED)
    settings = SearchSettings(space=space, storage=server.empty_database(f"eight_{attempt}"), max_trials=20)
    assert set(together(settings, 8)) == {0, -signal.SIGKILL}
    study = require_study(settings)
    assert counted(study.trials) == 20
    assert_sound(study, workplace)


def test_a_server_that_restarts_costs_nothing(server: Server) -> None:
    settings = SearchSettings(study="restarts", storage=server.url)
    study = optuna.create_study(study_name="restarts", storage=open_storage(settings))
    with exclusive(study):
        trial = study.ask()
    server.stop()
    server.start()
    study.set_user_attr("a", 1)  # its connection is gone
    with exclusive(study):
        study.tell(trial, 1.0)
    assert require_study(settings).best_value == 1.0


def test_the_lock_of_a_study_keeps_others_out(server: Server) -> None:
    settings = SearchSettings(study="locked", storage=server.url)
    mine = optuna.create_study(study_name="locked", storage=open_storage(settings))
    program = (
        "import sys; from search.settings import SearchSettings; from search.study.study import require_study; "
        "from search.study.exclusion import exclusive; "
        f"study = require_study(SearchSettings(study='locked', storage={server.url!r}))\n"
        "print('about to', flush=True)\n"
        "with exclusive(study): study.set_user_attr('seen', study.user_attrs['mine'])"
    )
    with exclusive(mine):
        other = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        assert other.stdout.readline() == "about to\n"
        mine.ask()  # Optuna's own locks are not in the way
        mine.set_user_attr("mine", "written in the block")
    assert other.communicate()[0] == ""
    assert other.returncode == 0
    assert mine.user_attrs["seen"] == "written in the block"
