"""The scheduler: what a free worker does next, and when a search is over.

It has the baseline trained in full first, shows the other trials to the promotion policy, keeps the limits of the call,
and notes how trials end. It reads the study and writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import optuna

from search.engine.events import TrialEnded, TrialOutcome
from search.engine.promotion import Decision, Done, Policy, Promote, Promotion, Start, Status, Wait
from search.engine.views import Seen, Views
from search.planning.plan import Plan
from search.settings import StudyError
from search.study.objectives import second_objective
from search.study.trials import maximizes

MOST_FAILURES = 3  # of one kind in a row: the cause is not the candidate
FEWEST_TOLD = 10  # trials that fail before their share of all is looked at
MOST_FAILED_SHARE = 0.5  # of the trials of a call
MOST_INFEASIBLE = 1000  # in a row: the space does not know the limit
MOST_REPEATS = 100  # proposals of which so many repeat others
MOST_REPEATED_SHARE = 0.9  # as to tell that the space has hardly any others: the last ones would take hundreds
RESERVE = 0.05  # share of the time left that is kept for what is not training

Clock = Callable[[], float]
"""Seconds that only grow, such as `time.monotonic`."""


@dataclass(frozen=True)
class Limits:
    """When a call of the search ends; None is no limit."""

    deadline: float | None = None
    """Reading of the clock after which no epoch starts."""
    max_trials: int | None = None
    """Trials of the study in all."""
    max_epochs: int | None = None
    """Epochs that this call may train; those of other calls on the study do not count."""
    workers: int = 1
    """Number of workers that train side by side."""


class Scheduler:
    """Decides for all workers of a call.

    Args:
        study: the study whose trials are trained.
        plan: the study's plan.
        limits: when this call ends.
        clock: tells the seconds that the deadline is counted in.
        pauses: whether trials pause and are promoted; otherwise each is trained until the pruner ends it.
        epoch_seconds: expected time of an epoch, used until a trial's is measured; None is unknown.
    """

    def __init__(
        self,
        study: optuna.Study,
        plan: Plan,
        limits: Limits,
        clock: Clock,
        *,
        pauses: bool,
        epoch_seconds: float | None = None,
    ) -> None:
        self.study, self.plan, self.limits, self.clock, self.pauses = study, plan, limits, clock, pauses
        self.epoch_seconds = epoch_seconds
        self.policy: Policy = Promotion(plan.rungs, plan.eta)
        self.timed = limits.deadline is not None and limits.max_epochs is None  # a limit of epochs counts all alike
        second = second_objective(study)
        self.views = Views(plan, maximize=maximizes(study), timed=self.timed, second=second)
        self.spent = 0  # epochs that this call has trained
        self.running: dict[int, tuple[int, int]] = {}  # epochs at which each of its jobs began and will end, by number
        self.endings: list[TrialEnded] = []
        self.failures: list[TrialEnded] = []  # failures in a row, see `_failures`
        self.tried: set[int] = set()  # numbers of the trials that this call has trained or tried to
        self.failed: set[int] = set()  # numbers of those that failed
        self.shortest: float | None = None  # seconds of the shortest job that trained
        self.repeats: list[bool] = []  # of the last proposals, whether each repeated an earlier one
        self.exhausted = False  # whether nearly every candidate of the space seems to have been tried

    def decide(self) -> Decision:
        """What a free worker should do now; a study's first trial begins however late it is, so that it has a value."""
        seen = self._look()
        deadline = self.limits.deadline if seen.begun else None
        if deadline is not None and self.clock() + (self.shortest or 0.0) / 2 >= deadline:
            return Done()
        return self._baseline(seen) or (self._promoted(seen) if self.pauses else self._until_pruned(seen))

    def _look(self) -> Seen:
        return self.views.look(self.study.get_trials(deepcopy=False))

    @property
    def out_of_time(self) -> bool:
        """Whether no epoch may begin any more."""
        return self.limits.deadline is not None and self.clock() >= self.limits.deadline

    @property
    def wants_more_trials(self) -> bool:
        """Whether the study has fewer trials than wanted."""
        return self._trials_left(self._look()) >= 1

    def begun(self, number: int, start: int, end: int) -> None:
        """Notes that a job begins, which trains a trial from so many epochs to so many."""
        self.running[number] = (start, end)

    def _baseline(self, seen: Seen) -> Promote | None:
        """The next rung of a paused baseline: it is trained in full before anything else competes for the time.

        Every search then knows early what its other trials have to beat. The baseline is asked for first, since it is
        the first trial that is queued.
        """
        baseline = seen.baseline
        if baseline is None or baseline.status is not Status.PAUSED:
            return None
        rung = next(rung for rung in self.plan.rungs if rung > baseline.epochs)
        return Promote(baseline.number, rung) if rung - baseline.epochs <= self._allowed_epochs else None

    def _promoted(self, seen: Seen) -> Decision:
        """What the policy decides from the trials and what is left of epochs, time and trials."""
        mean = (seen.mean_seconds if self.timed else None) or 1.0
        epochs_left = min(self._epochs_left(seen), self._affordable(seen))
        decision = self.policy.decide(seen.views, epochs_left, self._trials_left(seen), mean)
        if isinstance(decision, Wait | Done) and self._ends_by_time_alone:
            return self.policy.spare(seen.views, self._affordable_by_one(seen), mean) or decision
        return decision

    @property
    def _ends_by_time_alone(self) -> bool:
        """Whether a worker without work could as well train, since others do so until the deadline."""
        return self.timed and self.limits.max_trials is None and bool(self.running)

    def _until_pruned(self, seen: Seen) -> Start | Wait | Done:
        """Starts trials of full length; the last may be shorter, where too few epochs are left for a full one."""
        full, epochs_left = self.plan.max_epochs, self._epochs_left(seen)
        if self._trials_left(seen) < 1 or epochs_left < 1:
            return Done()
        if epochs_left < full and self.running:
            return Wait()  # they may be pruned
        return Start(int(min(full, epochs_left)))

    def _trials_left(self, seen: Seen) -> float:
        if self.exhausted:
            return 0
        return math.inf if self.limits.max_trials is None else self.limits.max_trials - len(seen.counting)

    @property
    def _allowed_epochs(self) -> float:
        """Epochs that this call may train beyond those of its running jobs."""
        most = self.limits.max_epochs
        promised = sum(end - start for start, end in self.running.values())
        return math.inf if most is None else most - self.spent - promised

    def _epochs_left(self, seen: Seen) -> float:
        """The same without those that the baseline still needs."""
        return self._allowed_epochs - self._reserved(seen)

    def _reserved(self, seen: Seen) -> int:
        """Epochs that the baseline still needs of this call beyond its running job."""
        baseline = seen.baseline
        if baseline is None or not (baseline.status is Status.PAUSED or baseline.number in self.running):
            return 0  # else another call trains it
        return self.plan.max_epochs - baseline.epochs

    def _affordable(self, seen: Seen) -> float:
        """Epochs of a mean trial that the time left pays for, beyond what running trials still train."""
        seconds = seen.mean_seconds or self.epoch_seconds
        if self.limits.deadline is None or seconds is None or not seen.counting:  # a first trial tells what it takes
            return math.inf
        left = self.limits.workers * (1 - RESERVE) * (self.limits.deadline - self.clock()) / seconds
        mean = seconds if self.timed else 1.0
        return left - seen.running_cost(mean) / mean - self._reserved(seen)

    def _affordable_by_one(self, seen: Seen) -> float:
        """Epochs of a mean trial that one worker can train in the time left; none before it is known what one takes."""
        assert self.limits.deadline is not None
        return (self.limits.deadline - self.clock()) / seen.mean_seconds if seen.mean_seconds else 0.0

    def note(self, ended: TrialEnded, seconds: float, *, failed: bool = False) -> None:
        """Notes how a job ended.

        Args:
            ended: what became of the trial.
            seconds: that the job took.
            failed: whether the job failed, though the trial may have been put back.

        Raises:
            StudyError: continuing is pointless; the reason and the remedy.
        """
        start, _ = self.running.pop(ended.number, (0, 0))
        self.spent += _epochs_since(start, ended)
        self.endings = [*self.endings, ended][-MOST_INFEASIBLE:]
        if ended.outcome.trained and not failed:
            self.shortest = min(seconds, self.shortest or seconds)
        if start == 0 and ended.outcome is not TrialOutcome.INFEASIBLE:
            self.repeats = [*self.repeats, ended.outcome is TrialOutcome.REPEATED][-MOST_REPEATS:]
            self.exhausted |= sum(self.repeats) >= MOST_REPEATED_SHARE * MOST_REPEATS
        self._end_if_failing(ended, failed=failed or ended.outcome is TrialOutcome.FAILED)
        if len(self.endings) == MOST_INFEASIBLE and all(e.outcome is TrialOutcome.INFEASIBLE for e in self.endings):
            raise StudyError(
                f"one of {MOST_INFEASIBLE} proposals must keep the limits", got=ended.reason, remedy="Raise the limit"
            )

    def _end_if_failing(self, ended: TrialEnded, *, failed: bool) -> None:
        """Ends the search where trials fail for a reason that is not theirs, or so many that it may never end."""
        if failed or ended.outcome.trained:
            self.tried.add(ended.number)
        if failed:
            self.failed.add(ended.number)
        last = self._failures(ended, failed)[-MOST_FAILURES:]
        if len(last) == MOST_FAILURES and len({kind_of(e.reason) for e in last}) == 1:
            rule = f"trials must not fail {MOST_FAILURES} times in a row"
            raise StudyError(rule, got=ended.reason, remedy="Mend the cause")
        tried, lost = len(self.tried), len(self.failed)
        if failed and lost >= max(FEWEST_TOLD, MOST_FAILED_SHARE * tried):
            raise StudyError(
                "fewer than half of the trials may fail",
                got=f"{lost} failures of {tried}, the last by {ended.reason}",
                remedy="Mend the causes, which the report tells, or narrow the space",
            )

    def _failures(self, ended: TrialEnded, failed: bool) -> list[TrialEnded]:
        """Failures in a row: only a trial that was trained for longer ends the row."""
        if failed:
            self.failures.append(ended)
        elif ended.outcome.trained:
            self.failures = [one for one in self.failures if one.epoch >= ended.epoch]
        return self.failures


def kind_of(reason: str) -> str:
    """What reasons of one cause have in common: the class of an exception, without its message."""
    return reason.partition(": ")[0]


def _epochs_since(start: int, ended: TrialEnded) -> int:
    """Epochs that a job trained; one for a trial that failed in its first, so that a search of such trials ends."""
    if ended.outcome in (TrialOutcome.REPEATED, TrialOutcome.INFEASIBLE):
        return 0
    return max((ended.epoch or 1) - start, 0)
