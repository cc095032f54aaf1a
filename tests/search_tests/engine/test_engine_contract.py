"""What every engine does, with any pruner and one worker or two: limits, records, repeatability, interruptions."""

from __future__ import annotations

import os
import signal
import socket
import warnings
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from search.engine.engine import Engine, LocalEngine
from search.format import format_epochs
from search.session import run_search
from search.settings import SearchSettings, StudyError
from search.study.attributes import CONTINUES, LAST_JOB, PAUSED, REASON, REPEAT_OF, RETRY_OF, WORKER
from search.study.cached_storage import refresh
from search.study.recovery import KILLED, claim
from search.study.study import require_study
from search.study.trials import counted, distinct, is_paused, reached
from tests.search_tests.conftest import Command
from tests.search_tests.logged_space import CountingClock, InterleavedEngine, OnRay, Watched, logged_space, trained

ENGINES = [
    (LocalEngine, 1),
    (InterleavedEngine, 2),
    pytest.param(OnRay, 2, marks=[pytest.mark.ray, pytest.mark.slow]),
]
FIXED_PRUNERS = ("promotion", "hyperband", "none")

every_engine = pytest.mark.parametrize(("engine", "workers"), ENGINES)
every_pruner = pytest.mark.parametrize("pruner", FIXED_PRUNERS)


def assert_all_told(study: optuna.Study) -> None:
    """Every trial has ended with a reason; those that were paused are pruned with their last value."""
    assert {t.state for t in study.trials} <= {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    for trial in study.trials:
        assert trial.user_attrs[REASON]
        if trial.state is TrialState.PRUNED and trial.user_attrs.get(PAUSED):
            assert trial.last_step == trial.user_attrs[PAUSED]
            assert trial.value == trial.intermediate_values[trial.user_attrs[PAUSED]]
            assert trial.user_attrs[REASON] == f"waited at {format_epochs(trial.last_step or 0)} for promotion"


def assert_jobs_join(folder: Path) -> None:
    """No epoch was trained twice, and none was left out."""
    counts = trained(folder)
    assert set(counts.values()) == {1}
    for seed in {seed for seed, _ in counts}:
        epochs = {epoch for other, epoch in counts if other == seed}
        assert epochs == set(range(1, max(epochs) + 1))


@every_engine
@every_pruner
def test_trials_are_as_many_as_wanted(engine: Callable[[], Engine], workers: int, pruner: str, workplace: Path) -> None:
    space = logged_space(workplace)
    study = run_search(SearchSettings(space=space, max_trials=12, workers=workers, pruner=pruner), engine=engine())
    assert counted(study.trials) == 12
    assert [t.number for t in study.trials] == list(range(12))
    assert_all_told(study)
    assert_jobs_join(workplace)
    assert sum(trained(workplace).values()) == sum(reached(t) for t in study.trials)
    assert all(t.last_step == 8 for t in study.get_trials(states=(TrialState.COMPLETE,)))
    if pruner == "promotion":
        assert [sum(reached(t) >= rung for t in study.trials) for rung in (1, 2, 4, 8)] == [12, 6, 3, 1]
        assert any(t.user_attrs.get(PAUSED) for t in study.trials)
    if pruner == "none":
        assert {reached(t) for t in study.trials} == {8}


@every_engine
@every_pruner
def test_no_more_epochs_are_trained_than_given(
    engine: Callable[[], Engine], workers: int, pruner: str, workplace: Path
) -> None:
    body = "if candidate.x > 0.8 and epoch == 3: raise Diverged('nan')"
    space = logged_space(workplace, before=body)
    total = 0
    for budget in (20, 3):  # 3 pay for no full trial
        settings = SearchSettings(space=space, epoch_budget=budget, workers=workers, pruner=pruner)
        watched = Watched(engine())
        study = run_search(settings, engine=watched)
        total += watched.epochs
        assert watched.epochs <= budget
        assert sum(reached(t) for t in distinct(study.trials)) == total == sum(trained(workplace).values())
        assert_all_told(study)
    assert_jobs_join(workplace)
    assert study.best_trial.last_step == 8


def test_failed_trials_count_among_the_epochs_given(workplace: Path) -> None:
    body = "if epoch == 2 and context.seed % 3 == 0: raise RuntimeError(context.seed)"
    space = logged_space(workplace, before=body)
    for budget in (20, 20):
        watched = Watched()
        study = run_search(SearchSettings(space=space, epoch_budget=budget), engine=watched)
        assert watched.epochs <= budget
    assert study.get_trials(states=(TrialState.FAIL,))


def test_a_search_whose_trials_all_diverge_at_once_ends(workplace: Path) -> None:
    space = logged_space(workplace, before="raise Diverged('nan')")
    for pruner in FIXED_PRUNERS:
        study = run_search(SearchSettings(space=space, study=pruner, epoch_budget=9, pruner=pruner))
        assert 1 <= len(study.trials) <= 9
        assert {t.user_attrs[REASON] for t in study.trials} == {"diverged: nan"}


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_cause_that_fails_every_trial_ends_the_search(epoch: int, workplace: Path) -> None:
    space = logged_space(workplace, before=f"if epoch == {epoch}: raise RuntimeError('no such layer')")
    with pytest.raises(StudyError, match="must not fail 3 times in a row; got RuntimeError: no such layer"):
        run_search(SearchSettings(space=space, max_trials=50))


def test_too_few_epochs_for_the_first_rung_start_nothing(workplace: Path) -> None:
    space = logged_space(workplace)
    study = run_search(SearchSettings(space=space, epoch_budget=3, min_epochs=4))
    assert not study.trials


def search_until(epochs: int, settings: SearchSettings, engine: Engine) -> optuna.Study:
    """A search whose deadline passes when so many epochs are trained."""
    return run_search(settings, engine=engine, clock=CountingClock(Path.cwd(), epochs))


@every_engine
@every_pruner
def test_no_epoch_starts_after_the_deadline(
    engine: Callable[[], Engine], workers: int, pruner: str, workplace: Path
) -> None:
    space = logged_space(workplace, epochs=100)
    settings = SearchSettings(space=space, time_budget=1000, workers=workers, pruner=pruner)
    study = search_until(10, settings, engine())
    assert 10 <= trained(workplace).total() <= 10 + workers - 1
    assert_all_told(study)
    reasons = [t.user_attrs[REASON] for t in study.trials]
    if pruner == "promotion":
        assert all(reason.startswith("waited") for reason in reasons)
    else:
        assert "time budget spent" in reasons
    assert_jobs_join(workplace)


@every_engine
def test_trials_cut_off_by_the_deadline_are_resumed_by_the_next_call(
    engine: Callable[[], Engine], workers: int, workplace: Path
) -> None:
    space = logged_space(workplace, epochs=320)  # the first rung is at 10
    study = search_until(7, SearchSettings(space=space, time_budget=1000, workers=workers), engine())
    cut = study.trials
    assert 1 <= len(cut) <= workers
    left = 10 * len(cut) - trained(workplace).total()
    settings = SearchSettings(space=space, epoch_budget=left + 2, workers=workers)
    study = run_search(settings, engine=engine())
    resumed = study.trials[len(cut) :]  # and two epochs are too few for another trial
    assert sorted(t.user_attrs[CONTINUES] for t in resumed) == [t.number for t in cut]
    assert all(t.params == cut[t.user_attrs[CONTINUES]].params for t in resumed)
    assert {reached(t) for t in resumed} == {10}
    assert_jobs_join(workplace)


@every_engine
def test_each_trial_ends_as_its_training_does(engine: Callable[[], Engine], workers: int, workplace: Path) -> None:
    body = (
        "if candidate.x == 0.5 and epoch == 2: raise Diverged('nan')\n"
        "            if candidate.x == 0.7: raise RuntimeError('no such layer')\n"
        "            if candidate.x == 0.9 and epoch == 3: return"
    )
    space = logged_space(workplace, starts=(0.3, 0.5, 0.7, 0.3, 0.9), before=body)
    settings = SearchSettings(space=space, max_trials=4, workers=workers, pruner="none")
    study = run_search(settings, engine=engine())
    full, diverged, raised, repeats, ended = study.trials[:5]
    assert (full.state, full.value, reached(full)) == (TrialState.COMPLETE, 0.3 + 1 / 8, 8)
    assert (diverged.state, diverged.user_attrs[REASON], reached(diverged)) == (TrialState.PRUNED, "diverged: nan", 1)
    assert (raised.state, raised.user_attrs[REASON]) == (TrialState.FAIL, "RuntimeError: no such layer")
    assert repeats.user_attrs[REPEAT_OF] == full.number
    assert (ended.state, ended.user_attrs[REASON], reached(ended)) == (TrialState.COMPLETE, "train() ended", 2)
    assert counted(study.trials) == 4


@every_pruner
def test_the_study_is_an_ordinary_one(pruner: str, workplace: Path) -> None:
    suggest = "trial.suggest_float('x', 0, 1) + 0 * trial.suggest_float('y', 0, 1)"
    space = logged_space(workplace, suggest=suggest)
    study = run_search(SearchSettings(space=space, max_trials=16, pruner=pruner))
    loaded = optuna.load_study(study_name="logged", storage="sqlite:///studies/logged/study.db")
    assert loaded.trials == study.trials
    assert loaded.best_trial in loaded.get_trials(states=(TrialState.COMPLETE,))
    assert list(loaded.trials_dataframe()["number"]) == [t.number for t in study.trials]
    assert [t.number for t in loaded.trials] == list(range(16))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        importances = optuna.importance.get_param_importances(loaded, evaluator=evaluator)
    assert set(importances) == {"x", "y"}
    assert optuna.visualization.plot_intermediate_values(loaded).data
    assert optuna.visualization.plot_optimization_history(loaded).data
    trial = loaded.ask()  # and others may work on it
    loaded.tell(trial, trial.suggest_float("x", 0, 1))


@pytest.mark.parametrize("pruner", ["promotion", "hyperband"])
def test_equal_seeds_give_equal_studies(pruner: str, workplace: Path) -> None:
    space, studies = logged_space(workplace), []
    for folder, seed in (("a", 7), ("b", 7), ("c", 8)):  # of one name, on which Optuna's HyperbandPruner depends
        (workplace / folder).mkdir()
        with chdir(workplace / folder):
            studies.append(run_search(SearchSettings(space=space, max_trials=8, seed=seed, pruner=pruner)))
    first, again, other = [[(t.params, t.state, t.intermediate_values) for t in s.trials] for s in studies]
    assert first == again
    assert not {p["x"] for p, _, _ in first} & {p["x"] for p, _, _ in other}


@pytest.mark.parametrize("pruner", ["promotion", "none"])
def test_a_study_that_is_continued_draws_nothing_twice(pruner: str, workplace: Path) -> None:
    space = logged_space(workplace)
    for most in (4, 5, 12):
        study = run_search(SearchSettings(space=space, max_trials=most, pruner=pruner))
        assert counted(study.trials) == most
        assert_all_told(study)
    proposed = [t.params["x"] for t in study.trials if CONTINUES not in t.user_attrs]
    assert len(set(proposed)) == len(proposed) == 12
    assert_jobs_join(workplace)
    if pruner == "none":  # a proposal depends on the seed and the trials before, not on the calls
        whole = run_search(SearchSettings(space=space, study="whole", max_trials=12, pruner=pruner))
        assert [t.params for t in whole.trials] == [t.params for t in study.trials]


ONCE = (  # in the fourth epoch of a trial that was paused after the second, or would have been
    "if epoch == 4 and not Path('sent').exists(): Path('sent').touch(); "
    "signal.signal(signal.SIGINT, signal.default_int_handler); "  # processes of a suite in the background ignore it
    "signal.raise_signal(signal.{signal})"
)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("sent", "pruner"),
    [
        ("SIGKILL", "promotion"),
        pytest.param("SIGKILL", "none", marks=pytest.mark.slow),
        pytest.param("SIGINT", "promotion", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_search_continues_and_loses_nothing(
    sent: str, pruner: str, workplace: Path, command: Command
) -> None:
    space = logged_space(workplace, before=ONCE.format(signal=sent))
    settings = SearchSettings(space=space, max_trials=6, pruner=pruner)
    result = command("run", "--space", space, "--trials", "6", "--pruner", pruner)
    study = require_study(settings)
    cut = next(t for t in study.trials if t.last_step == 3)
    if sent == "SIGINT":
        assert result.returncode == 130
        assert "Traceback" not in result.stderr
        assert not study.get_trials(states=(TrialState.RUNNING,))
    else:
        assert result.returncode == -signal.SIGKILL
        assert cut.state is TrialState.RUNNING
    before = trained(workplace)
    study = run_search(settings)
    assert counted(study.trials) == 6
    assert_all_told_but_cut_off(study, cut.number)
    again = trained(workplace) - before
    if pruner == "promotion":
        (continuing,) = (t for t in study.trials if t.user_attrs.get(CONTINUES) == cut.number)
        assert not study.get_trials(states=(TrialState.FAIL,))
        assert reached(continuing) >= 4
        twice = {(cut.user_attrs["seed"], 3)}  # the checkpoint is of epoch 2
    else:
        (continuing,) = (t for t in study.trials if t.user_attrs.get(RETRY_OF) == cut.number)
        assert study.trials[cut.number].state is TrialState.FAIL
        assert study.trials[cut.number].user_attrs[REASON] == KILLED
        twice = set()  # it is another trial, with a seed of its own
    assert continuing.params == cut.params
    assert {key for key, count in trained(workplace).items() if count > 1} == twice
    assert again


def assert_all_told_but_cut_off(study: optuna.Study, number: int) -> None:
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))
    for trial in study.trials:
        assert trial.user_attrs[REASON]
    assert max(t.number for t in study.trials) > number


@pytest.mark.parametrize("pruner", ["promotion", "none"])
def test_ctrl_c_leaves_every_trial_told(pruner: str, workplace: Path) -> None:
    body = "if epoch == 4 and not Path('sent').exists(): Path('sent').touch(); raise KeyboardInterrupt"
    settings = SearchSettings(space=logged_space(workplace, before=body), max_trials=6, pruner=pruner)
    with pytest.raises(KeyboardInterrupt):
        run_search(settings)
    study = require_study(settings)
    assert not study.get_trials(states=(TrialState.RUNNING,))
    (cut,) = (t for t in study.trials if t.last_step == 3)
    if pruner == "promotion":
        assert (cut.state, cut.user_attrs[PAUSED]) == (TrialState.PRUNED, 2)
    else:
        assert (cut.state, cut.user_attrs[REASON]) == (TrialState.FAIL, "interrupted")
        assert [t.system_attrs["fixed_params"] for t in study.get_trials(states=(TrialState.WAITING,))] == [cut.params]
    study = run_search(settings)
    assert counted(study.trials) == 6
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))


@pytest.mark.parametrize("last_job", [[0, 1], [2, 4]])
def test_a_worker_that_is_killed_does_not_stop_the_others(last_job: list[int], workplace: Path) -> None:
    settings = SearchSettings(space=logged_space(workplace), max_trials=6)

    class WithKilled(LocalEngine):
        """Begins beside a worker that is gone already."""

        def run(self, request, emit) -> None:  # type: ignore[no-untyped-def]
            study = require_study(settings)
            trial = study.ask()
            x = trial.suggest_float("x", 0, 1)
            trial.set_user_attr("seed", 1)
            for epoch in range(1, last_job[0] + 1):
                trial.report(x - 10, epoch)  # the best: it will be promoted
            trial.set_user_attr(LAST_JOB, last_job)
            trial.set_user_attr(
                WORKER, {"host": socket.gethostname(), "pid": os.getpid()}
            )  # as before there were leases
            super().run(request, emit)

    study = run_search(settings, engine=WithKilled())
    assert counted(study.trials) == 6
    assert study.trials[0].user_attrs[REASON] == KILLED
    assert study.trials[0].state is (TrialState.PRUNED if last_job[0] else TrialState.FAIL)
    assert [t for t in study.trials if t.params == study.trials[0].params and t.number > 0]


def test_a_trial_whose_worker_died_before_it_said_so_is_given_up_after_a_minute(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = SearchSettings(space=logged_space(workplace), max_trials=3)
    run_search(SearchSettings(space=settings.space, max_trials=2))
    require_study(settings).ask()
    monkeypatch.setattr("search.study.leases.RENEWAL_SECONDS", 0.02)
    study = run_search(settings)
    assert study.trials[2].state is TrialState.FAIL
    assert counted(study.trials) == 3


@pytest.mark.parametrize("resumable", [True, False])
def test_a_space_that_cannot_resume_is_trained_from_the_start(resumable: bool, workplace: Path) -> None:
    space = logged_space(workplace, resumable=resumable)
    watched = Watched()
    study = run_search(SearchSettings(space=space, max_trials=8), engine=watched)
    again = [count - 1 for count in trained(workplace).values()]
    assert watched.epochs == len(again) == sum(reached(t) for t in study.trials)  # known epochs are not told again
    if resumable:
        assert not any(again)
    else:  # to 2, 4 and 8 epochs four, two and one trial are promoted
        assert sum(again) == 4 * 1 + 2 * 2 + 1 * 4
    for trial in study.trials:
        assert trial.intermediate_values == {e: trial.params["x"] + 1 / e for e in range(1, reached(trial) + 1)}


def test_a_deadline_ends_training_from_the_start_too(workplace: Path) -> None:
    space = logged_space(workplace, resumable=False)
    study = search_until(13, SearchSettings(space=space, time_budget=1000, max_trials=8), LocalEngine())
    assert trained(workplace).total() == 13
    assert max(trained(workplace).values()) >= 2  # promoted trials were trained from the start
    assert_all_told(study)


def test_a_space_that_ends_early_is_complete_even_where_it_was_paused_at_its_end(workplace: Path) -> None:
    space = logged_space(workplace, before="if epoch == 3: return")
    study = run_search(SearchSettings(space=space, max_trials=4))
    assert [t for t in study.trials if t.state is TrialState.COMPLETE]
    for trial in study.get_trials(states=(TrialState.COMPLETE,)):
        assert (trial.last_step, trial.value) == (2, trial.intermediate_values[2])
    assert not study.get_trials(states=(TrialState.FAIL,))


@pytest.mark.parametrize("open_again", [False, True], ids=["closed", "open"])
def test_of_two_calls_one_claims_a_paused_trial(open_again: bool, workplace: Path) -> None:
    settings = SearchSettings(space=logged_space(workplace))
    run_search(SearchSettings(space=settings.space, epoch_budget=6))
    mine, other = require_study(settings), require_study(settings)
    paused = next(t for t in mine.get_trials(deepcopy=False) if is_paused(t))
    epochs = paused.user_attrs[PAUSED]
    if open_again:
        reopened = claim(other, paused, {"id": "other"}, 8)
        assert reopened is not None
        reopened.set_user_attr(PAUSED, epochs)
        refresh(mine)
        paused = mine.get_trials(deepcopy=False)[reopened.number]
        assert is_paused(paused)
    theirs = claim(other, paused, {"id": "other"}, 8)
    assert theirs is not None
    assert (theirs.user_attrs[WORKER], theirs.user_attrs[LAST_JOB]) == ({"id": "other"}, [epochs, 8])
    assert claim(mine, paused, {"id": "mine"}, 8) is None
    assert theirs.number == require_study(settings).trials[-1].number
