"""What a search was planned to train, what it trained, and what stopping and going on saved; all from stored trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from optuna.trial import FrozenTrial, TrialState

from search.planning.plan import Plan
from search.study.attributes import CONTINUES, EPOCH_SECONDS, PAUSED, REPEAT_OF, STINT
from search.study.session_log import Call
from search.study.trials import distinct, is_feasible


@dataclass(frozen=True)
class Stage:
    """Training up to one rung from the one below."""

    rung: int
    """Epochs at its end."""
    planned_trials: int | None
    """Expected to be trained to its end; None where no expectation was recorded."""
    trials: int
    """Trained to its end."""
    planned_epochs: int | None
    """Expected, of all trials."""
    epochs: int
    """Trained, of all trials; also of those that ended within it."""


@dataclass(frozen=True)
class Bill:
    """The plan beside what happened."""

    stages: tuple[Stage, ...]
    """By rung."""
    planned_trials: int | None
    """Expected to start."""
    trials: int
    """Started: feasible, not failed; those that went on in a later call count once."""
    planned_seconds: float | None
    """Expected of all calls; None where one call's is unknown."""
    seconds: float | None
    """Passed in all calls whose end is known; None where none is."""
    planned_epoch_seconds: float | None
    """Expected of an epoch, mean of all calls; None where unknown."""
    unknown_calls: int
    """Calls that still run or were killed: their time is not known."""
    training_seconds: float
    """Of every epoch, if each took as long as its trial's first."""
    lost_epochs: int
    """Trained in trials that failed or were interrupted without a checkpoint."""
    full_epochs: int
    """What training every started trial in full would have taken."""
    unfinished: int
    """Trials that were stopped, or wait, before the full length."""
    saved_by_stopping: int
    """Epochs that those were not trained."""
    resumed: int
    """How often a trial went on after a pause."""
    saved_by_resuming: int
    """Epochs that these need not repeat, since they went on from a checkpoint."""
    repeats: int
    """Proposals of a candidate that had been tried, whose result was reused."""
    saved_by_repeats: int
    """Epochs of those results."""
    planned_disk: int | None
    """Bytes of checkpoints expected; None where unknown."""
    disk: int
    """Bytes of checkpoints found."""

    @property
    def epochs(self) -> int:
        """Trained in all, without those that were lost."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def planned_epochs(self) -> int | None:
        """Expected in all."""
        planned = [stage.planned_epochs for stage in self.stages]
        return None if None in planned else sum(epochs or 0 for epochs in planned)

    @property
    def epoch_seconds(self) -> float | None:
        """Mean seconds of an epoch; None where none was timed."""
        done = self.epochs + self.lost_epochs
        return self.training_seconds / done if done and self.training_seconds else None

    @property
    def full_seconds(self) -> float:
        """What training every started trial in full would have taken, at this study's mean seconds an epoch."""
        return self.full_epochs * (self.epoch_seconds or 0.0)


def make_bill(trials: Sequence[FrozenTrial], plan: Plan, calls: Sequence[Call], disk: int) -> Bill:
    """The bill of a study.

    Args:
        trials: of the study, all of them.
        plan: of the study.
        calls: what was expected of each call.
        disk: bytes of checkpoints found.
    """
    by_number = {trial.number: trial for trial in trials}
    states = (TrialState.RUNNING, TrialState.PRUNED, TrialState.COMPLETE)
    kept = distinct(trials)
    started = [t for t in kept if t.state in states and is_feasible(t)]
    epochs = [t.last_step or 0 for t in started]
    resumed = [starts(t, plan.rungs, by_number) for t in started]
    goes_on = all(call.resumes for call in calls)
    repeats = [t for t in trials if REPEAT_OF in t.user_attrs]
    spent = [call.spent for call in calls if call.spent is not None]
    expected = [sum(of) for of in zip_longest(*(call.reaching for call in calls), fillvalue=0)]
    epoch_seconds = [call.epoch_seconds for call in calls if call.epoch_seconds]
    planned_disk = _sum([call.disk for call in calls if call.reaching])
    return Bill(
        stages=tuple(_stages(plan.rungs, epochs, expected)),
        planned_trials=expected[0] if expected else None,
        trials=len(started),
        planned_seconds=_sum([call.seconds for call in calls if call.reaching]),
        seconds=sum(spent) if spent else None,
        planned_epoch_seconds=sum(epoch_seconds) / len(epoch_seconds) if epoch_seconds else None,
        unknown_calls=len(calls) - len(spent),
        training_seconds=training_seconds(trials),
        lost_epochs=sum(t.last_step or 0 for t in kept if t.state is TrialState.FAIL),
        full_epochs=plan.max_epochs * len(started),
        unfinished=sum(count < plan.max_epochs for count in epochs),
        saved_by_stopping=sum(max(0, plan.max_epochs - count) for count in epochs),
        resumed=sum(len(found) for found in resumed),
        saved_by_resuming=sum(sum(found) for found in resumed) if goes_on else 0,
        repeats=len(repeats),
        saved_by_repeats=sum(t.last_step or 0 for t in repeats),
        planned_disk=None if planned_disk is None else int(planned_disk),
        disk=disk,
    )


def _stages(rungs: Sequence[int], epochs: Sequence[int], expected: Sequence[int]) -> list[Stage]:
    stages = []
    for level, (below, rung) in enumerate(zip([0, *rungs], rungs, strict=False)):
        planned = expected[level] if expected else None
        trained = sum(max(0, min(count, rung) - below) for count in epochs)
        stages.append(
            Stage(
                rung,
                planned,
                sum(count >= rung for count in epochs),
                None if planned is None else planned * (rung - below),
                trained,
            )
        )
    return stages


def starts(trial: FrozenTrial, rungs: Sequence[int], by_number: Mapping[int, FrozenTrial]) -> set[int]:
    """Epochs after which the trial paused and later went on.

    It was promoted one rung at a time, so of its last stint's start the earlier ones follow: the rungs below. Pauses
    between rungs, where a call ran out of time, are those of the trials that it continues.
    """
    last = int(trial.user_attrs.get(STINT, (0, 0))[0])
    found = {rung for rung in rungs if rung <= last} | ({last} if last else set())
    while trial.user_attrs.get(CONTINUES) in by_number:
        trial = by_number[trial.user_attrs[CONTINUES]]
        found |= {int(trial.user_attrs[PAUSED])} if trial.user_attrs.get(PAUSED) else set()
    return found


def training_seconds(trials: Sequence[FrozenTrial]) -> float:
    """Seconds of every epoch of the trials, if each took as long as its trial's first."""
    return sum(float(t.user_attrs.get(EPOCH_SECONDS, 0.0)) * (t.last_step or 0) for t in distinct(trials))


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None
