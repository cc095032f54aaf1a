"""Workers that raise, exit or are killed: the reason is told, the trial put back; the search continues or says why."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from search.cli import run_command
from search.engine.engine import Engine, LocalEngine
from search.engine.events import TrialEnded, TrialOutcome
from search.engine.job_runner import WorkerSetup
from search.engine.trial_job import JobEnd, JobEndKind
from search.engine.workers import ProcessWorker
from search.planning.plan import Plan
from search.run import main as run_main
from search.session import run_search
from search.settings import SearchSettings
from search.study.attributes import REASON, RETRY_OF, WORKER
from search.study.study import require_study
from search.study.trials import counted, reached
from spaces.base import Problem, SpaceError
from tests.search_tests.logged_space import InterleavedEngine, Watched, logged_space, trained

ONCE = "if epoch == 3 and not Path('lost').exists(): Path('lost').touch(); {end}"
KILLED = ("os.kill(os.getpid(), signal.SIGKILL)", "its worker was killed by SIGKILL", LocalEngine())
EXITED = ("os._exit(3)", "its worker exited with status 3", LocalEngine())
RAISED = ("raise SystemExit(3)", "its worker exited with status 3", InterleavedEngine())


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("pruner", "end", "reason", "engine"),
    [
        pytest.param("promotion", *KILLED, id="promotion-killed"),
        pytest.param("promotion", *EXITED, id="promotion-exits", marks=pytest.mark.slow),
        pytest.param("promotion", *RAISED, id="promotion-raises SystemExit"),
        pytest.param("none", *KILLED, id="none-killed", marks=pytest.mark.slow),
        pytest.param("none", *EXITED, id="none-exits", marks=pytest.mark.slow),
        pytest.param("none", *RAISED, id="none-raises SystemExit"),
    ],
)
def test_a_lost_worker_is_replaced_and_its_trial_put_back(
    pruner: str, end: str, reason: str, engine: Engine, workplace: Path
) -> None:
    settings = SearchSettings(
        space=logged_space(workplace, before=ONCE.format(end=end)), max_trials=6, workers=2, pruner=pruner
    )
    watched = Watched(engine)
    study = run_search(settings, engine=watched)
    (lost,) = (e for e in watched.events if isinstance(e, TrialEnded) and e.reason == reason)
    assert counted(study.trials) == 6
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))
    if pruner == "promotion":  # from the checkpoint of epoch 2
        assert (lost.outcome, lost.epoch) == (TrialOutcome.PAUSED, 2)
        assert reached(study.trials[lost.number]) >= 4
        assert set(trained(workplace).values()) == {1}
    else:
        failed = study.trials[lost.number]
        assert (lost.outcome, failed.state) == (TrialOutcome.QUEUED, TrialState.FAIL)
        assert failed.user_attrs[REASON] == reason
        (again,) = (t for t in study.trials if t.user_attrs.get(RETRY_OF) == lost.number)
        assert (again.params, reached(again)) == (failed.params, 8)


def test_a_candidate_that_costs_two_workers_fails_for_good(workplace: Path) -> None:
    space = logged_space(workplace, before="if 0.6 < candidate.x < 0.8: raise SystemExit(3)")
    settings = SearchSettings(space=space, max_trials=12, sampler="random", pruner="none")
    study = run_search(settings, engine=InterleavedEngine())
    failed = study.get_trials(states=(TrialState.FAIL,))
    assert failed
    assert {t.user_attrs[REASON] for t in failed} == {"its worker exited with status 3"}
    for x in {t.params["x"] for t in failed}:
        assert [t.params["x"] for t in study.trials].count(x) == 2
    assert counted(study.trials) == 12


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_workers_that_always_exit_end_the_search_with_the_reason(
    workers: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    end = "os._exit(3)" if workers == "2" else "raise SystemExit(3)"
    space = logged_space(workplace, before=end)
    assert run_command(run_main, ["--space", space, "--trials", "9", "--workers", workers]) == 2
    assert capsys.readouterr().err == (
        "error: trials must not fail 3 times in a row; got its worker exited with status 3. Mend the cause.\n"
    )
    assert not require_study(SearchSettings(space=space)).get_trials(states=(TrialState.RUNNING,))


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_worker_that_cannot_begin_says_why(workers: int, workplace: Path) -> None:
    space = Path(logged_space(workplace))
    driver = os.getpid()
    # with a time limit a single worker is a process, too
    space.write_text(f"import os\nif os.getpid() != {driver}: raise MemoryError('no room')\n" + space.read_text())
    settings = SearchSettings(space=str(space), max_trials=4, workers=workers, trial_timeout=3600)
    with pytest.raises(SpaceError, match="must run without errors; got MemoryError: no room"):
        run_search(settings)
    assert not require_study(settings).get_trials(states=(TrialState.RUNNING,))


def test_processes_side_by_side_train_and_only_the_driver_writes_to_the_study(workplace: Path) -> None:
    space = logged_space(workplace, before="Path('pids').open('a').write(f'{os.getpid()}\\n')")
    study = run_search(SearchSettings(space=space, max_trials=12, workers=2))
    assert counted(study.trials) == 12
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.FAIL))
    assert {reached(t) for t in study.trials} > {1}  # more than one rung was reached
    assert all(reached(t) == 8 for t in study.get_trials(states=(TrialState.COMPLETE,)))
    assert set(trained(workplace).values()) == {1}
    assert {t.user_attrs[WORKER]["pid"] for t in study.trials} == {os.getpid()}
    workers = set((workplace / "pids").read_text().split())
    assert len(workers) == 2
    assert str(os.getpid()) not in workers


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_workers_do_not_outlive_a_driver_that_is_killed(workplace: Path) -> None:
    wait = "Path('pids').open('a').write(f'{os.getpid()}\\n'); __import__('time').sleep(0.02)"
    space = logged_space(workplace, before=wait, epochs=100_000)
    line = [sys.executable, "-m", "search.run", "--space", space, "--trials", "2", "--workers", "2", "--quiet"]
    with subprocess.Popen([*line, "--pruner", "none"], cwd=workplace) as driver:
        pids: set[int] = set()
        while len(pids) < 2 and driver.poll() is None:
            time.sleep(0.1)
            written = (workplace / "pids").read_text() if (workplace / "pids").exists() else ""
            pids = {int(pid) for pid in written.split("\n")[:-1]}
        driver.send_signal(signal.SIGKILL)
    assert len(pids) == 2
    while any(is_alive(pid) for pid in pids):  # the test's timeout ends the wait for one that never goes
        time.sleep(0.1)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_that_was_killed_says_so(workplace: Path) -> None:
    plan = Plan(1, 8, 2, 0, 0, 0, None, None)
    setup = WorkerSetup(str(workplace / "none.py"), Problem(), plan, None, "cpu", False)
    worker = ProcessWorker(setup, threads=1)
    worker.process.kill()
    worker.process.join()
    assert worker.receive() == JobEnd(-1, JobEndKind.WORKER_LOST, "its worker was killed by SIGKILL")
    worker.close()
    assert not worker.process.is_alive()
