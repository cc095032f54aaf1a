"""What a free worker does next: the one place where a search starts trials, promotes them or ends."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.engine.events import TrialEnded, TrialOutcome
from search.engine.promotion import Done, Promote, Promotion, Start, Status, TrialView, Wait
from search.engine.trial_job import Stint
from search.planning.plan import Plan
from search.settings import StudyError
from search.study.attributes import PAUSED, STINT, WORKER
from search.study.study import counted, look_again, recover_lost_trials, reopened, resumed, taken, this_worker
from search.study.trials import mean_epoch_seconds, trained, views

MOST_FAILURES = 3  # in a row with the same reason: the cause is not the candidate
MOST_INFEASIBLE = 1000  # in a row: the space does not know the limit
MOST_REPEATS = 100  # in a row: the space has no more candidates
RESERVE = 0.05  # of the time left, for what is not training


@dataclass(frozen=True)
class Limits:
    """When a call of the search ends; None is no limit."""

    deadline: float | None = None
    """time.time() after which no epoch starts."""
    max_trials: int | None = None
    """Trials of the study in all."""
    max_epochs: int | None = None
    """Epochs of the study in all."""
    workers: int = 1
    """That train side by side until then."""


class Dispatcher:
    """Decides for the workers of one process, from what the study holds.

    Args:
        study: with its sampler.
        plan: of the study.
        limits: of this call.
        pauses: whether trials pause and are promoted; otherwise each is trained until the pruner ends it.
        epoch_seconds: expected, for as long as no trial tells; None is unknown.
        shared: whether other processes of this call work on the study.
    """

    def __init__(
        self,
        study: optuna.Study,
        plan: Plan,
        limits: Limits,
        *,
        pauses: bool,
        epoch_seconds: float | None = None,
        shared: bool = False,
    ) -> None:
        self.study, self.plan, self.limits, self.pauses = study, plan, limits, pauses
        self.epoch_seconds, self.shared = epoch_seconds, shared
        self.policy = Promotion(plan.rungs, plan.eta)
        self.endings: list[TrialEnded] = []
        self.failures: list[TrialEnded] = []  # that no trial has got past since
        self.shortest: float | None = None  # seconds of the shortest stint that trained
        self.exhausted = False  # whether the space seems to have no candidate that was not tried

    def next(self) -> Stint | Wait | Done:
        """What to do; a trial that it names is marked as this process's."""
        if self.limits.deadline is not None and time.time() + (self.shortest or 0.0) / 2 >= self.limits.deadline:
            return Done()
        if self.shared:
            look_again(self.study)
        trials = self.study.get_trials(deepcopy=False)
        decision = self.policy.decide(*self._outlook(trials)) if self.pauses else self._until_pruned(trials)
        if isinstance(decision, Start):
            return self._start(decision.epochs)
        if isinstance(decision, Promote):
            stored = trials[decision.number]
            return Wait() if taken(self.study, stored) else self._promote(stored, decision.epochs)
        if isinstance(decision, Wait):  # perhaps for a trial whose process was killed
            recover_lost_trials(self.study, others=True)
        return decision

    def _until_pruned(self, trials: list[FrozenTrial]) -> Start | Wait | Done:
        """Starts trials of full length, and, of epochs that are too few for one, a last one that is shorter."""
        full, epochs_left = self.plan.max_epochs, self._epochs_left(trials)
        if self._trials_left(trials) < 1 or epochs_left < 1:
            return Done()
        if epochs_left < full and any(t.state is TrialState.RUNNING for t in trials):
            return Wait()  # they may be pruned
        return Start(int(min(full, epochs_left)))

    def _start(self, epochs: int) -> Stint:
        trial = self.study.ask()
        trial.set_user_attr(WORKER, this_worker())
        trial.set_user_attr(STINT, [0, epochs])
        return Stint(trial, 0, epochs)

    def _promote(self, stored: FrozenTrial, epochs: int) -> Stint:
        start = int(stored.user_attrs[PAUSED])
        closed = stored.state is TrialState.PRUNED
        trial = reopened(self.study, stored) if closed else resumed(self.study, stored)
        trial.set_user_attr(WORKER, this_worker())
        trial.set_user_attr(STINT, [start, epochs])
        trial.set_user_attr(PAUSED, 0)
        return Stint(trial, start, epochs)

    def _outlook(self, trials: list[FrozenTrial]) -> tuple[list[TrialView], float, float]:
        """What the policy asks for: the trials, and the epochs and trials left."""
        maximize = self.study.direction is optuna.study.StudyDirection.MAXIMIZE
        timed = self.limits.deadline is not None and self.limits.max_epochs is None  # that one counts all epochs alike
        seen = views(trials, self.plan, maximize=maximize, timed=timed)
        return seen, min(self._epochs_left(trials), self._affordable(trials, seen)), self._trials_left(trials)

    def _trials_left(self, trials: list[FrozenTrial]) -> float:
        if self.exhausted:
            return 0
        return math.inf if self.limits.max_trials is None else self.limits.max_trials - counted(trials)

    def _epochs_left(self, trials: list[FrozenTrial]) -> float:
        most = self.limits.max_epochs
        return math.inf if most is None else most - trained(trials, self.plan.rungs[0])

    def _affordable(self, trials: list[FrozenTrial], seen: list[TrialView]) -> float:
        """Mean trials' epochs that the time left pays for, beyond what running trials still train."""
        seconds = mean_epoch_seconds(trials) or self.epoch_seconds
        if self.limits.deadline is None or seconds is None or not seen:  # a first trial tells how long an epoch takes
            return math.inf
        left = self.limits.workers * (1 - RESERVE) * (self.limits.deadline - time.time()) / seconds
        last = {t.number: t.last_step or 0 for t in trials}
        return left - sum(t.cost * (t.epochs - last[t.number]) for t in seen if t.status is Status.RUNNING)

    def saw(self, ended: TrialEnded, seconds: float) -> None:
        """Takes note of a stint's end; raises `StudyError` where going on is pointless."""
        self.endings = [*self.endings, ended][-MOST_INFEASIBLE:]
        if ended.outcome.trained:
            self.shortest = min(seconds, self.shortest or seconds)
        last = self.endings[-MOST_REPEATS:]
        self.exhausted |= len(last) == MOST_REPEATS and all(e.outcome is TrialOutcome.REPEATED for e in last)
        last = self._failures(ended)[-MOST_FAILURES:]
        if len(last) == MOST_FAILURES and all(e.reason == ended.reason for e in last):
            raise StudyError(
                f"trials must not fail {MOST_FAILURES} times in a row",
                got=ended.reason,
                remedy="Mend the cause",
            )
        if len(self.endings) == MOST_INFEASIBLE and all(e.outcome is TrialOutcome.INFEASIBLE for e in self.endings):
            raise StudyError(
                f"one of {MOST_INFEASIBLE} proposals must keep the limits",
                got=ended.reason,
                remedy="Raise the limit",
            )

    def _failures(self, ended: TrialEnded) -> list[TrialEnded]:
        """Failures in a row: a trial that was trained for longer breaks it, one that paused before does not."""
        if ended.outcome is TrialOutcome.FAILED:
            self.failures.append(ended)
        elif ended.outcome.trained:
            self.failures = [failed for failed in self.failures if failed.epoch >= ended.epoch]
        return self.failures
