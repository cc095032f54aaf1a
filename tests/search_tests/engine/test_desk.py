"""What Tune is handed, without Tune: never more jobs than there is room for, and what becomes of lost ones."""

from __future__ import annotations

import time
from pathlib import Path

import optuna
import pytest

from search.engine.driver import Driver, SearchRequest
from search.engine.promotion import Done, Wait
from search.engine.ray_tune.desk import LOST, Desk, Stopped
from search.engine.trial_job import EpochResult, JobEnd, JobEndKind, TrialJob, Verdict
from search.planning.planner import plan_without_images
from search.settings import SearchSettings, StudyError
from search.study.attributes import REASON
from spaces.base import Problem
from spaces.registry import load_space
from tests.search_tests.logged_space import logged_space


def desk_of(folder: Path, room: int, **settings: object) -> tuple[Desk, optuna.Study]:
    given = SearchSettings(space=logged_space(folder), max_trials=4, **settings)  # type: ignore[arg-type]
    space = load_space(given.space, Problem())
    plan = plan_without_images(given, space)
    study = optuna.create_study(direction=space.direction)
    request = SearchRequest(given, plan, Problem(), time.monotonic, max_trials=4)
    return Desk(Driver(study, space, request, lambda event: None), lambda: room), study


def taken(desk: Desk, tune_id: str) -> TrialJob:
    job = desk.next_job(tune_id)
    assert isinstance(job, TrialJob)
    return job


def result(job: TrialJob, epoch: int = 1) -> EpochResult:
    return EpochResult(job.number, epoch, 0.5, 0.1, {})


def test_no_more_jobs_are_out_than_there_is_room_for(workplace: Path) -> None:
    desk, study = desk_of(workplace, room=2)
    first, second = taken(desk, "a"), taken(desk, "b")
    assert (first.number, second.number) == (0, 1)
    assert isinstance(desk.next_job("c"), Wait)
    assert len(study.trials) == 2
    assert desk.answer(result(first)) is Verdict.SAVE
    desk.end("a", JobEnd(first.number, JobEndKind.SAVED))
    assert taken(desk, "c").number == 2


def test_a_trial_whose_worker_was_lost_is_queued_again(workplace: Path) -> None:
    desk, study = desk_of(workplace, room=1)
    lost = taken(desk, "a")
    desk.end("a")
    desk.end("a")  # Tune may tell it twice
    assert study.trials[lost.number].user_attrs[REASON] == LOST
    assert taken(desk, "b").parameters == lost.parameters


def test_what_is_raised_on_a_report_ends_the_search_when_tune_asks_again(workplace: Path) -> None:
    desk, _ = desk_of(workplace, room=1)
    for tune_id in "abc":
        job = taken(desk, tune_id)
        desk.end(tune_id, JobEnd(job.number, JobEndKind.RAISED, "no such layer"))
    with pytest.raises(StudyError, match="no such layer"):
        desk.check()
    with pytest.raises(StudyError, match="no such layer"):
        desk.next_job("d")


def test_stopped_trials_pause_after_their_epoch(workplace: Path) -> None:
    desk, _ = desk_of(workplace, room=1, min_epochs=4)
    job = taken(desk, "a")
    assert desk.answer(result(job)) is Verdict.TRAIN_ON
    desk.stop(KeyboardInterrupt())
    assert isinstance(desk.next_job("b"), Wait)
    assert desk.answer(result(job, 2)) is Verdict.SAVE
    desk.end("a", JobEnd(job.number, JobEndKind.SAVED))
    assert isinstance(desk.next_job("b"), Done)
    desk.stop(KeyboardInterrupt())
    with pytest.raises(Stopped):
        desk.check()


def test_trials_that_cannot_pause_are_stopped_at_once(workplace: Path) -> None:
    desk, _ = desk_of(workplace, room=1, pruner="none")
    taken(desk, "a")
    desk.stop(KeyboardInterrupt())
    with pytest.raises(Stopped):
        desk.check()
