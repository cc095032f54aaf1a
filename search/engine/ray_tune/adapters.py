"""What Tune asks and tells, passed on to the desk.

Ray 2.60's controller asks the searcher for trials as long as fewer wait for an actor than it allows, starts those that
wait without asking the scheduler, and tells the scheduler each result but the one that says `done`, which comes as the
trial's last one with its completion (`ray/tune/execution/tune_controller.py`).
"""

from __future__ import annotations

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.engine.promotion import Done, Wait
from search.engine.ray_tune.desk import Desk
from search.engine.ray_tune.trainable import JOB, MESSAGE, SETUP, ActorSetup


class JobSearcher(Searcher):
    """Gives Tune a job as the configuration of a trial.

    Args:
        desk: has the jobs.
        setup: what each actor needs.
    """

    def __init__(self, desk: Desk, setup: ActorSetup) -> None:
        super().__init__()
        self.desk, self.actor_setup = desk, setup

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """A job; None if there is none at present, FINISHED if there will be none."""
        job = self.desk.next_job(trial_id)
        if isinstance(job, Done):
            return Searcher.FINISHED  # type: ignore[return-value]  # which Tune's own annotation forgets
        return None if isinstance(job, Wait) else {JOB: job, SETUP: self.actor_setup}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Records the end of a job; a trial that ends without its job's last message has lost its worker."""
        self.desk.end(trial_id, None if error or result is None else result[MESSAGE])

    def save(self, checkpoint_path: str) -> None:
        """Saves nothing: a later call reads the study."""

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: all but the desk, whose study stays with this process."""
        return {name: value for name, value in self.__dict__.items() if name != "desk"}


class VerdictScheduler(FIFOScheduler):
    """Brings each epoch's result to the desk, and the verdict to the actor; Tune itself always goes on."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.desk = desk

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Answers an epoch's result."""
        verdict = self.desk.answer(result[MESSAGE])
        actor = trial.temporary_state.ray_actor
        assert actor is not None  # a trial that reports has one
        actor.answer.remote(verdict)
        return TrialScheduler.CONTINUE

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Chooses none, so that Tune starts trials in their order; asked once a step, so errors end the run here."""
        self.desk.check()
