"""Several calls on a database server."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from sqlalchemy import text

from search.session import run_search
from search.settings import SearchSettings
from search.study.attributes import CONTINUES, PAUSED, WORKER
from search.study.cached_storage import durable_of
from search.study.exclusion import exclusive, lock_row
from search.study.optuna_internals import engine_of, id_of_study
from search.study.recovery import claim
from search.study.storage import open_storage
from search.study.study import require_study
from search.study.trials import counted, is_paused
from tests.search_tests.logged_space import logged_space
from tests.search_tests.postgres import Server
from tests.search_tests.study.conftest import Together
from tests.search_tests.study.test_several_calls import TOGETHER, assert_sound

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]
KILLED = "if epoch == 2 and not Path('killed').exists(): Path('killed').touch(); os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.slow
def test_calls_that_start_together_share_the_trials_wanted(server: Server, workplace: Path, together: Together) -> None:
    space = logged_space(workplace, starts=(0.5, 0.25), before=TOGETHER.format(calls=3))
    settings = SearchSettings(space=space, storage=server.empty_database("three"), max_trials=14)
    assert together(settings, 3) == [0, 0, 0]
    study = require_study(settings)
    assert counted(study.trials) == 14
    assert_sound(study, workplace)
    assert len({t.user_attrs[WORKER]["id"] for t in study.trials}) == 3


@pytest.mark.slow
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


CLAIMERS = 6


def claimed_by_all(settings: SearchSettings, number: int) -> list[optuna.Trial]:
    """What claimers get of one paused trial that all have seen paused, each on connections of its own."""
    together = threading.Barrier(CLAIMERS)

    def take(claimer: int) -> optuna.Trial | None:
        study = require_study(settings)
        paused = study.get_trials(deepcopy=False)[number]
        assert is_paused(paused)
        together.wait()
        return claim(study, paused, {"id": f"{claimer}"}, 8)

    with ThreadPoolExecutor(CLAIMERS) as pool:
        return [trial for trial in pool.map(take, range(CLAIMERS)) if trial is not None]


def test_of_many_claimers_at_once_one_gets_a_paused_trial(server: Server, workplace: Path) -> None:
    storage = server.empty_database("claims")
    settings = SearchSettings(space=logged_space(workplace), storage=storage, epoch_budget=12)
    closed = [t for t in run_search(settings).trials if is_paused(t)]
    assert len(closed) >= 3
    for trial in closed:  # each is resumed by a new trial
        (resuming,) = claimed_by_all(settings, trial.number)
        stored = require_study(settings).trials
        assert [t.number for t in stored if t.user_attrs.get(CONTINUES) == trial.number] == [resuming.number]
        resuming.set_user_attr(PAUSED, trial.user_attrs[PAUSED])
        (again,) = claimed_by_all(settings, resuming.number)  # it is open: the same trial is taken
        assert again.number == resuming.number
        assert require_study(settings).trials[again.number].user_attrs[WORKER] == again.user_attrs[WORKER]


def test_the_lock_of_a_machine_without_power_ends_in_a_minute(server: Server) -> None:
    settings = SearchSettings(study="keepalives", storage=server.url)
    study = optuna.create_study(study_name="keepalives", storage=open_storage(settings))
    engine = engine_of(durable_of(study))
    assert engine is not None
    with lock_row(engine, id_of_study(study)) as connection:
        names = ("idle", "interval", "count")
        told = [int(connection.scalar(text(f"SHOW tcp_keepalives_{name}"))) for name in names]
        assert told[0] + told[1] * told[2] == 40
    with engine.connect() as connection:  # perhaps the same one of the pool: what it does elsewhere is as ever
        assert connection.scalar(text("SHOW tcp_keepalives_idle")) != "10"


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
