"""Searches on Ray Tune: they give what local ones give, lose nothing, and each engine continues the other's studies."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.trial import TrialState

from cifar.files import write_json
from search.engine.engine import LocalEngine
from search.engine.events import TrialEnded, TrialOutcome
from search.engine.job_runner import WorkerSetup
from search.engine.ray_tune.adapters import JobSearcher
from search.engine.ray_tune.desk import LOST
from search.engine.ray_tune.trainable import ActorSetup
from search.planning.plan import Plan
from search.session import run_search
from search.settings import SearchSettings, StudyError
from search.study.attributes import CONTINUES, PAUSED, REASON, RETRY_OF
from search.study.checkpoints import MARK
from search.study.remote import RemotePath
from search.study.study import require_study
from search.study.trials import counted, reached
from spaces.base import Problem, SpaceError
from tests.search_tests.conftest import Command
from tests.search_tests.logged_space import CountingClock, OnRay, Watched, logged_space, trained

pytestmark = pytest.mark.ray

ONCE = "if epoch == 3 and not Path('lost').exists(): Path('lost').touch(); os.kill(os.getpid(), signal.SIGKILL)"
SLOWLY = "__import__('time').sleep(0.05)"


def test_one_worker_on_ray_gives_what_a_local_one_gives(workplace: Path) -> None:
    space = logged_space(workplace, before="Path(f'{os.getpid()}.pid').touch()")
    settings = SearchSettings(space=space, max_trials=6)
    on_ray = run_search(settings, engine=OnRay())
    (worker,) = workplace.glob("*.pid")  # one actor for all jobs
    assert worker.stem != str(os.getpid())
    local = run_search(SearchSettings(space=space, max_trials=6, study="local"))
    first, second = ([(t.params, t.state, t.value, t.intermediate_values) for t in s.trials] for s in (on_ray, local))
    assert first == second
    assert not list(workplace.glob("trials*"))


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["promotion", "none"])
def test_a_worker_that_is_killed_is_replaced_and_its_trial_put_back(pruner: str, workplace: Path) -> None:
    settings = SearchSettings(
        space=logged_space(workplace, before=ONCE), max_trials=6, workers=2, pruner=pruner, min_epochs=2
    )
    watched = Watched(OnRay())
    study = run_search(settings, engine=watched)
    (lost,) = (e for e in watched.events if isinstance(e, TrialEnded) and e.reason == LOST)
    assert counted(study.trials) == 6
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))
    if pruner == "promotion":
        assert (lost.outcome, lost.epoch) == (TrialOutcome.PAUSED, 2)
        assert set(trained(workplace).values()) == {1}
    else:
        (again,) = (t for t in study.trials if t.user_attrs.get(RETRY_OF) == lost.number)
        assert (again.params, reached(again)) == (study.trials[lost.number].params, 8)


@pytest.mark.slow
def test_a_worker_that_cannot_begin_says_why(workplace: Path) -> None:
    space = Path(logged_space(workplace))
    space.write_text(f"import os\nif os.getpid() != {os.getpid()}: raise MemoryError('no room')\n" + space.read_text())
    settings = SearchSettings(space=str(space), max_trials=4)
    with pytest.raises(SpaceError, match="must run without errors; got MemoryError: no room"):
        run_search(settings, engine=OnRay())
    assert not require_study(settings).get_trials(states=(TrialState.RUNNING,))


SETUP = WorkerSetup("resnet_budget30k", Problem(), Plan(1, 8, 2, 0, 0, 0, None, None), None, "cpu", False)


def test_a_node_that_does_not_see_the_folder_says_so(workplace: Path) -> None:
    with pytest.raises(StudyError, match="every node must see the folder that the command was started in"):
        ActorSetup(SETUP, workplace / "shared", threads=1).enter_folder()


def test_a_node_that_does_not_see_the_checkpoints_says_so(workplace: Path) -> None:
    (workplace / "bucket/toy").mkdir(parents=True)
    write_json(workplace / "bucket/toy" / MARK, {"id": "ours"})
    cloud, elsewhere = RemotePath(f"file://{workplace}/bucket/toy"), workplace / "elsewhere"
    for place in (cloud, workplace / "bucket/toy"):
        ActorSetup(SETUP, workplace, 1, place, "ours").enter_folder()
        with pytest.raises(StudyError, match=r"every node must see the folder of the study's checkpoints.*toy on"):
            ActorSetup(SETUP, workplace, 1, place, "of another study").enter_folder()
    with pytest.raises(StudyError, match="every node must see the folder of the study's checkpoints"):
        ActorSetup(SETUP, workplace, 1, elsewhere, "ours").enter_folder()
    ActorSetup(SETUP, workplace / "shared", 1, cloud, "ours").enter_folder()  # all that it needs is in the cloud
    assert not elsewhere.exists()


def test_the_searcher_pickles_without_the_study(workplace: Path) -> None:
    with (workplace / "held").open("w") as unpicklable:
        desk: Any = SimpleNamespace(driver=unpicklable)
        searcher = pickle.loads(pickle.dumps(JobSearcher(desk, ActorSetup(SETUP, workplace, threads=1))))
    assert searcher.actor_setup == ActorSetup(SETUP, workplace, threads=1)
    assert not hasattr(searcher, "desk")


NO_STORE = """
import os, sqlite3
if os.getpid() != {driver}:
    def refuse(*_, **__):
        raise RuntimeError("a worker opens a store")
    sqlite3.connect = sqlite3.dbapi2.connect = refuse
"""


@pytest.mark.slow
def test_workers_need_no_store(workplace: Path) -> None:
    space = Path(logged_space(workplace))
    space.write_text(NO_STORE.format(driver=os.getpid()) + space.read_text())
    store = workplace / "of the driver"
    settings = SearchSettings(space=str(space), max_trials=4, storage=f"sqlite:///{store}/study.db", workers=2)
    study = run_search(settings, engine=OnRay())
    assert counted(study.trials) == 4
    assert not study.get_trials(states=(TrialState.FAIL, TrialState.RUNNING))


@pytest.mark.slow
def test_the_command_searches_and_plans_for_a_node(toy: Path, command: Command) -> None:
    options = [
        "--space",
        "resnet_budget30k",
        "--data",
        str(toy),
        "--val-size",
        "100",
        "--trials",
        "3",
        "--max-epochs",
        "2",
    ]
    result = command("run", *options, "--engine", "ray", "--cpus-per-trial", "0.5", "--max-concurrent", "2")
    assert (result.returncode, result.stderr) == (0, "")
    study = require_study(SearchSettings(space="resnet_budget30k"))
    assert counted(study.trials) == 3


@pytest.mark.slow
def test_a_trial_that_fits_on_no_node_is_told(workplace: Path, command: Command) -> None:
    result = command("run", "--space", logged_space(workplace), "--engine", "ray", "--cpus-per-trial", "10000")
    assert result.returncode == 2
    assert result.stderr.startswith("error: a node must have room for a trial of 10000 CPUs and 0 GPUs; got ")


@pytest.mark.slow
def test_real_images_are_trained_on(toy_search: Callable[..., SearchSettings]) -> None:
    settings = toy_search(workers=2, deterministic=True)
    study = run_search(settings, engine=OnRay())
    assert counted(study.trials) == 4
    assert study.get_trials(states=(TrialState.COMPLETE,))
    paused = [t for t in study.trials if t.user_attrs.get(PAUSED)]
    kept = {path.stem for path in (settings.folder / "checkpoints").iterdir()}
    assert kept >= {f"{t.user_attrs['seed']:016x}-{t.user_attrs[PAUSED]}" for t in paused}


@pytest.mark.slow
@pytest.mark.parametrize("begun", ["ray", "local"])
def test_each_engine_continues_the_studies_of_the_other(begun: str, workplace: Path) -> None:
    first, second = (OnRay(), LocalEngine()) if begun == "ray" else (LocalEngine(), OnRay())
    space = logged_space(workplace, epochs=320)  # the first rung is at 10
    run_search(SearchSettings(space=space, time_budget=1000), engine=first, clock=CountingClock(workplace, 7))
    study = run_search(SearchSettings(space=space, epoch_budget=5), engine=second)
    assert [reached(t) for t in study.trials] == [7, 10]
    assert study.trials[1].user_attrs[CONTINUES] == 0
    assert set(trained(workplace).values()) == {1}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("sent", "send"), [(signal.SIGINT, os.kill), (signal.SIGTERM, os.kill), (signal.SIGTERM, os.killpg)]
)
def test_a_stopped_search_pauses_after_the_epoch_and_continues(
    sent: signal.Signals, send: Callable[[int, int], None], workplace: Path
) -> None:
    space = logged_space(workplace, before=SLOWLY, epochs=320)  # the first rung is at 10
    line = [sys.executable, "-m", "search.run", "--space", space, "--trials", "2", "--engine", "ray"]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stderr=pipe, stdout=pipe, text=True, start_new_session=True) as driver:
        while trained(workplace).total() < 12 and driver.poll() is None:
            time.sleep(0.05)
        send(driver.pid, sent)
        _, told = driver.communicate()
    assert driver.returncode == 128 + sent, told
    assert "Traceback" not in told
    study = require_study(SearchSettings(space=space))
    assert {t.state for t in study.trials} == {TrialState.PRUNED}
    assert trained(workplace).total() == sum(reached(t) for t in study.trials)  # the last epochs are not lost
    study = run_search(SearchSettings(space=space, epoch_budget=20))
    assert any(CONTINUES in t.user_attrs for t in study.trials)
    assert set(trained(workplace).values()) == {1}


@pytest.mark.slow
def test_a_node_that_is_gone_in_mid_trial_loses_no_trial(workplace: Path) -> None:
    from ray.cluster_utils import Cluster

    space = logged_space(workplace, before=f"Path(f'{{os.getpid()}}.pid').touch(); {SLOWLY}", epochs=64)
    settings = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=settings)
    try:
        node = cluster.add_node(num_cpus=1)
        line = ["--space", space, "--trials", "4", "--pruner", "none", "--engine", "ray", "--address", cluster.address]
        command = [sys.executable, "-m", "search.run", *line]
        with subprocess.Popen(command, cwd=workplace, stderr=subprocess.PIPE, text=True) as driver:
            while len(list(workplace.glob("*.pid"))) < 2 and driver.poll() is None:
                time.sleep(0.05)
            cluster.remove_node(node, allow_graceful=False)
            _, told = driver.communicate()
    finally:
        cluster.shutdown()
    assert (driver.returncode, told) == (0, "")
    study = require_study(SearchSettings(space=space))
    assert counted(study.trials) == 4
    states = [t.state for t in study.trials]
    assert (states.count(TrialState.COMPLETE), states.count(TrialState.FAIL)) == (4, 1)
    (lost,) = (t for t in study.trials if t.state is TrialState.FAIL)
    assert lost.user_attrs[REASON] == LOST
    (again,) = (t for t in study.trials if t.user_attrs.get(RETRY_OF) == lost.number)
    assert (again.params, reached(again)) == (lost.params, 64)
