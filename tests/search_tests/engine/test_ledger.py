"""What the ledger writes of a trial, epoch by epoch."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from search.engine.events import Event, TrialEnded, TrialOutcome
from search.engine.ledger import Ledger
from search.engine.trial_job import EpochResult, JobEnd, JobEndKind, Saved, TrialJob, Verdict
from search.planning.plan import Plan
from search.study.attributes import EPOCH_SECONDS, REASON, record
from search.study.recovery import KILLED
from spaces.base import Problem
from spaces.registry import load_space
from tests.search_tests.logged_space import logged_space

PLAN = Plan(1, 8, 2, 0, 0, 0, None, None, from_top=True)


@pytest.fixture
def ledger(workplace: Path) -> Ledger:
    space = load_space(logged_space(workplace), Problem())
    events: list[Event] = []
    study = optuna.create_study(direction="minimize")
    return Ledger(study, space, PLAN, driver={}, seed=0, checkpoints=workplace, emit=events.append, pauses=True)


def train(ledger: Ledger, job: TrialJob, *seconds: float, after: int | None = None) -> Verdict:
    """Reports an epoch of each of these durations, after the job's start or another epoch; the last verdict."""
    for epoch, taken in enumerate(seconds, start=(job.start if after is None else after) + 1):
        verdict = ledger.report(job, EpochResult(job.number, epoch, 1 / epoch, taken, {}), ends="")
    return verdict


def resumed(ledger: Ledger, epochs: int) -> TrialJob:
    """The first trial, claimed again."""
    job = ledger.resume(ledger.study.trials[0], epochs)
    assert job is not None
    return job


def test_seconds_an_epoch_are_the_median_of_warm_ones(ledger: Ledger) -> None:
    job = ledger.start(ledger.ask(), 1)
    assert isinstance(job, TrialJob)
    assert train(ledger, job, 9.0) is Verdict.SAVE
    assert record(ledger.study.trials[0]).epoch_seconds == 9.0  # nothing better is known yet
    ledger.close(JobEnd(0, JobEndKind.SAVED))
    job = resumed(ledger, 5)
    assert train(ledger, job, 8.0, 2.0, 2.05, 3.0) is Verdict.SAVE
    assert record(ledger.study.trials[0]).epoch_seconds == 2.0  # 2.05 is within the tolerance
    ledger.close(JobEnd(0, JobEndKind.SAVED))
    job = resumed(ledger, 8)
    assert train(ledger, job, 8.0, 3.0, 3.0) is Verdict.STOP
    assert ledger.study.trials[0].user_attrs[EPOCH_SECONDS] == 3.0


def test_a_trial_is_saved_once_it_has_trained_for_long_and_goes_on_there(ledger: Ledger) -> None:
    job = ledger.start(ledger.ask(), 8)
    assert isinstance(job, TrialJob)
    assert train(ledger, job, 200.0, 400.0) is Verdict.CHECKPOINT
    assert record(ledger.study.trials[0]).kept == 0  # the worker has not said that it is written
    assert ledger.saved(Saved(0, 2)) is Verdict.TRAIN_ON
    assert record(ledger.study.trials[0]).kept == 2
    assert train(ledger, job, 1.0, 1.0, 400.0, after=2) is Verdict.TRAIN_ON  # 402 seconds since then
    ended = ledger.close(JobEnd(0, JobEndKind.WORKER_LOST, "lost"))
    assert (ended.outcome, ended.epoch) == (TrialOutcome.PAUSED, 2)
    job = resumed(ledger, 8)
    assert job.start == 2
    assert train(ledger, job, 1.0) is Verdict.TRAIN_ON  # the third epoch, a second time


def test_a_trial_that_another_call_ended_is_let_go(ledger: Ledger) -> None:
    job = ledger.start(ledger.ask(), 1)
    assert isinstance(job, TrialJob)
    ledger.study.tell(job.number, state=TrialState.FAIL)
    assert train(ledger, job, 1.0) is Verdict.STOP
    ended = ledger.close(JobEnd(job.number, JobEndKind.STOPPED))
    assert (ended.outcome, ended.reason) == (TrialOutcome.PRUNED, "another call ended it: ")
    job = ledger.start(ledger.ask(), 1)
    assert isinstance(job, TrialJob)
    ledger.study.tell(job.number, state=TrialState.FAIL)
    assert ledger.close(JobEnd(job.number, JobEndKind.RAISED, "why")).outcome is TrialOutcome.PRUNED
    assert [t.state for t in ledger.study.trials] == [TrialState.FAIL] * 2


@pytest.mark.parametrize("when", ["before", "while it proposes", "while its space fails"])
def test_a_trial_that_another_call_ended_before_it_began_is_let_go(
    when: str, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended_by_another(*_: object) -> None:
        ledger.study.tell(trial.number, state=TrialState.FAIL)
        if when == "while its space fails":
            raise RuntimeError
        trial.set_user_attr("proposed", True)  # as a space or the ledger does next

    trial = ledger.ask()
    if when == "before":
        ledger.study.tell(trial.number, state=TrialState.FAIL)
    else:
        monkeypatch.setattr("search.engine.ledger.propose", ended_by_another)
    ended = ledger.start(trial, 1)
    assert isinstance(ended, TrialEnded)
    assert (ended.outcome, ended.reason) == (TrialOutcome.PRUNED, "another call ended it: ")
    assert not ledger.open
    assert [t.state for t in ledger.study.trials] == [TrialState.FAIL]


def end_by_another(ledger: Ledger, number: int) -> None:
    """What a call does that took this driver for gone."""
    ledger.study._storage.set_trial_user_attr(number, REASON, KILLED)
    ledger.study.tell(number, state=TrialState.FAIL)


def test_a_trial_that_another_call_ends_in_the_same_moment_is_let_go(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ledger.start(ledger.ask(), 8)
    assert isinstance(job, TrialJob)

    def late(*_: object) -> None:
        end_by_another(ledger, job.number)

    monkeypatch.setattr("search.engine.ledger.second_of", late)  # the last thing before the trial is told
    assert train(ledger, job, *[1.0] * 8) is Verdict.STOP
    ended = ledger.close(JobEnd(job.number, JobEndKind.STOPPED))
    assert (ended.outcome, ended.reason) == (TrialOutcome.PRUNED, f"another call ended it: {KILLED}")
    assert ledger.study.trials[job.number].state is TrialState.FAIL
