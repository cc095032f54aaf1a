"""Several calls on one study at once: one plan, no trial too many, none trained twice, each counts its own epochs."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from search.engine.events import EpochDone, Event, TrialEnded, TrialStarted
from search.session import run_search
from search.settings import SearchSettings, StudyError
from search.study.attributes import BASELINE, CONTINUES, FORECAST, PLAN, REASON, WORKER
from search.study.cached_storage import refresh
from search.study.recovery import KILLED
from search.study.storage import open_storage
from search.study.study import require_study
from search.study.trials import counted, distinct, reached
from tests.search_tests.logged_space import Watched, logged_space, trained
from tests.search_tests.study.conftest import Call, Together

STORAGES = [
    pytest.param(None, id="sqlite"),
    pytest.param("shared.journal", id="journal", marks=pytest.mark.slow),
]
TOGETHER = (  # nobody trains before so many processes are about to
    "Path(f'here.{{os.getpid()}}').touch(); "
    "[__import__('time').sleep(0.02) for _ in iter(lambda: len(list(Path().glob('here.*'))) < {calls}, False)]"
)
SAVES = """
def saves(seed, epoch):
    def save(path):
        path.touch()
        with open("saves.log", "a") as log:
            log.write(f"{os.getpid()} {seed} {epoch}\\n")
    return save
"""


def wait_for(calls: list[subprocess.Popen[bytes]]) -> None:
    """Until all have ended, each without an error."""
    for process in calls:
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()


def assert_sound(study: optuna.Study, folder: Path) -> None:
    """Every trial is told, none was trained or continued twice, and there is one baseline."""
    assert {t.state for t in study.trials} <= {TrialState.COMPLETE, TrialState.PRUNED, TrialState.WAITING}
    assert set(trained(folder).values()) == {1}
    assert sum(trained(folder).values()) == sum(reached(t) for t in distinct(study.trials))
    assert len([t for t in distinct(study.trials) if BASELINE in t.user_attrs]) == 1


@pytest.mark.parametrize("storage", STORAGES)
def test_calls_that_start_together_share_the_trials_wanted(storage: str | None, workplace: Path, call: Call) -> None:
    space = logged_space(workplace, starts=(0.5, 0.25), before=TOGETHER.format(calls=2))
    options = ["--trials", "14", *(["--storage", storage] if storage else [])]
    wait_for([call(space, *options) for _ in range(2)])
    study = require_study(SearchSettings(space=space, storage=storage))
    assert counted(study.trials) == 14
    assert_sound(study, workplace)
    assert len([key for key in study.user_attrs if key.startswith(FORECAST)]) == 2
    assert len(list(workplace.glob("here.*"))) == 2  # both have trained; a trial names the last that trained it


def test_a_call_knows_the_trials_of_one_that_came_and_went(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.study.cached_storage.STALE_SECONDS", 1e6)  # as if all took no time
    settings = SearchSettings(space=logged_space(workplace), max_trials=3, pruner="none")
    others: list[optuna.Study] = []

    def other(event: Event) -> None:
        if isinstance(event, EpochDone) and not others:
            others.append(run_search(settings))

    assert counted(run_search(settings, callbacks=(other,)).trials) == 3
    assert counted(others[0].trials) == 3


@pytest.mark.slow
def test_eight_calls_share_the_trials_wanted(workplace: Path, together: Together) -> None:
    settings = SearchSettings(space=logged_space(workplace, starts=(0.5, 0.25)), max_trials=8 * 15)
    assert together(settings, 8) == [0] * 8
    study = require_study(settings)
    assert counted(study.trials) == 8 * 15
    assert [t.number for t in study.trials] == list(range(len(study.trials)))
    assert_sound(study, workplace)


@pytest.mark.slow
def test_each_call_counts_its_own_epochs(workplace: Path, call: Call) -> None:
    space = logged_space(workplace, starts=(0.5,), before=TOGETHER.format(calls=2))
    wait_for([call(space, "--epoch-budget", "20") for _ in range(2)])
    study = require_study(SearchSettings(space=space))
    assert_sound(study, workplace)
    assert 30 < trained(workplace).total() <= 40


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_call_goes_on_with_the_trials_of_one_that_is_killed(workplace: Path, call: Call) -> None:
    pause = f"if os.getpid() != {os.getpid()} and epoch == 4: Path('there').touch(); signal.pause()"
    space = logged_space(workplace, before=pause)
    other = call(space, "--trials", "6")
    while not (workplace / "there").exists():  # the test's timeout ends this
        assert other.poll() is None
        time.sleep(0.05)

    class WithKilled(Watched):
        """Begins while the other call lives."""

        def run(self, request, emit) -> None:  # type: ignore[no-untyped-def]
            assert len(require_study(settings).get_trials(states=(TrialState.RUNNING,))) > 0
            other.send_signal(signal.SIGKILL)
            other.communicate()
            super().run(request, emit)

    settings = SearchSettings(space=space, max_trials=6)
    study = run_search(settings, engine=WithKilled())
    assert counted(study.trials) == 6
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.FAIL))
    assert {epoch for (_, epoch), times in trained(workplace).items() if times > 1} <= {3}  # cut off after it
    assert len({t.user_attrs[WORKER]["id"] for t in study.trials}) == 2


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_call_that_slept_beyond_its_lease_lets_its_trial_go(
    workplace: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = (
        f"if os.getpid() != {os.getpid()} and epoch == 4 and not Path('awake').exists(): Path('there').touch(); "
        "[__import__('time').sleep(0.02) for _ in iter(Path('awake').exists, True)]"
    )
    space = Path(logged_space(workplace, before=waits))
    space.write_text(SAVES + space.read_text().replace("1 / epoch)", "1 / epoch, save=saves(context.seed, epoch))"))
    settings = SearchSettings(space=str(space), max_trials=6)
    sleeper = call(str(space), "--trials", "6")
    while not (workplace / "there").exists():  # the test's timeout ends this
        assert sleeper.poll() is None
        time.sleep(0.05)
    sleeper.send_signal(signal.SIGSTOP)
    (cut,) = (t for t in require_study(settings).trials if t.last_step == 3 and t.state is TrialState.RUNNING)
    seed, continuing = cut.user_attrs["seed"], set[int]()

    def wake(event: Event) -> None:
        """Wakes the sleeper once its trial has been trained, and saved, as far as it was about to."""
        if isinstance(event, TrialStarted) and event.replaces == cut.number:
            continuing.add(event.number)
        if isinstance(event, TrialEnded) and event.number in continuing and not (workplace / "awake").exists():
            monkeypatch.setattr("search.study.leases.RENEWAL_SECONDS", 10.0)  # from now on both are in time
            (workplace / "awake").touch()
            sleeper.send_signal(signal.SIGCONT)
            while trained(workplace)[seed, 4] < 2:
                time.sleep(0.02)

    monkeypatch.setattr("search.study.leases.RENEWAL_SECONDS", 0.05)  # of this process, which waits for six of its own
    study = run_search(settings, callbacks=(wake,))
    wait_for([sleeper])
    refresh(study)
    assert counted(study.trials) == 6
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.FAIL))
    told = study.trials[cut.number]
    assert (told.state, told.user_attrs[REASON], told.last_step) == (TrialState.PRUNED, KILLED, 3)
    (again,) = (t for t in study.trials if t.user_attrs.get(CONTINUES) == cut.number)
    assert again.params == cut.params
    assert {key: times for key, times in trained(workplace).items() if times > 1} == {(seed, 3): 2, (seed, 4): 2}
    saves = (workplace / "saves.log").read_text().splitlines()
    assert [line for line in saves if line.endswith(f" {seed} 4")] == [f"{os.getpid()} {seed} 4"]


def test_a_study_whose_creation_was_cut_off_is_completed(workplace: Path) -> None:
    settings = SearchSettings(space=logged_space(workplace), max_trials=3)
    optuna.create_study(study_name="logged", storage=open_storage(settings), direction="minimize")
    study = run_search(settings)
    assert counted(study.trials) == 3
    assert PLAN in study.user_attrs


def test_a_study_that_is_not_of_this_tool_is_told_apart(workplace: Path) -> None:
    settings = SearchSettings(space=logged_space(workplace), max_trials=3)
    optuna.create_study(study_name="logged", storage=open_storage(settings), direction="maximize")
    with pytest.raises(StudyError, match=r"must have been made by search\.run; got logged"):
        run_search(settings)
