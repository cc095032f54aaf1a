"""Resource usage of a search: what it was expected to train, what it trained, and what pausing and stopping saved.

Everything is computed from stored trials and calls. Example: rungs at 1, 2 and 4 epochs, four trials, of which two are
promoted to 2 epochs and one of them to 4. That is 4 + 2 + 2 = 8 epochs, where training all four in full takes 16:
8 are saved by stopping. Three promotions resumed from a checkpoint, after 1, 1 and 2 epochs, so 4 more are saved that
training from the start would have repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from optuna.trial import FrozenTrial, TrialState

from search.planning.plan import Plan
from search.study.attributes import record
from search.study.session_log import Call
from search.study.trials import distinct, is_feasible, reached


@dataclass(frozen=True)
class Stage:
    """Training up to one rung from the one below."""

    rung: int
    """Epochs at the end of the stage."""
    planned_trials: int | None
    """Number of trials expected to reach the rung; None where no expectation was recorded."""
    trials: int
    """Number of trials that reached the rung."""
    planned_epochs: int | None
    """Epochs of all trials expected in the stage; None where no expectation was recorded."""
    epochs: int
    """Epochs of all trials trained in the stage, also of trials that did not reach the rung."""


@dataclass(frozen=True)
class ResourceUsage:
    """Planned and actual resources of a study."""

    stages: tuple[Stage, ...]
    """Training by rung, the lowest first."""
    planned_trials: int | None
    """Number of trials expected to start."""
    trials: int
    """Number of feasible trials that started and did not fail; one that a later call resumed counts once."""
    planned_seconds: float | None
    """Expected duration of all calls; None where that of one call is unknown."""
    seconds: float | None
    """Duration of all calls whose end is known; None where none is."""
    planned_epoch_seconds: float | None
    """Expected duration of an epoch, the mean over calls; None where unknown."""
    unknown_calls: int
    """Number of calls that still run or were killed, so that their duration is unknown."""
    training_seconds: float
    """Duration of all epochs, if each took as long as its trial's median epoch."""
    lost_epochs: int
    """Epochs of trials that failed or were interrupted without a checkpoint."""
    full_epochs: int
    """Epochs that training every started trial in full would have taken."""
    unfinished: int
    """Number of trials that were stopped or are paused before the full length."""
    saved_by_stopping: int
    """Epochs that the unfinished trials lack to the full length."""
    resumed: int
    """Number of times that a paused trial was resumed."""
    saved_by_resuming: int
    """Epochs that resumed trials need not repeat, since they resumed from a checkpoint."""
    repeats: int
    """Number of proposals whose candidate had been tried and whose result was reused."""
    saved_by_repeats: int
    """Epochs of the reused results."""
    planned_disk: int | None
    """Expected size of checkpoints in bytes; None where unknown."""
    disk: int | None
    """Size of the checkpoints found, in bytes; None where their store could not be asked."""

    @property
    def epochs(self) -> int:
        """Epochs trained in all, without those that were lost."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def planned_epochs(self) -> int | None:
        """Epochs expected in all; None where no expectation was recorded."""
        planned = [stage.planned_epochs for stage in self.stages]
        return None if None in planned else sum(epochs or 0 for epochs in planned)

    @property
    def epoch_seconds(self) -> float | None:
        """Mean duration of an epoch; None where none was timed."""
        done = self.epochs + self.lost_epochs
        return self.training_seconds / done if done and self.training_seconds else None

    @property
    def full_seconds(self) -> float:
        """Duration of training every started trial in full, at the mean duration of an epoch."""
        return self.full_epochs * (self.epoch_seconds or 0.0)


def resource_usage(trials: Sequence[FrozenTrial], plan: Plan, calls: Sequence[Call], disk: int | None) -> ResourceUsage:
    """The resource usage of a study.

    Args:
        trials: all trials of the study.
        plan: the study's plan.
        calls: what was expected of each call, and what it took.
        disk: size of the checkpoints found, in bytes; None where their store could not be asked.
    """
    by_number = {trial.number: trial for trial in trials}
    kept = distinct(trials)
    started = [trial for trial in kept if _has_started(trial)]
    epochs = [reached(trial) for trial in started]
    pauses = [epochs_at_pauses(trial, plan.rungs, by_number) for trial in started]
    from_checkpoints = all(call.resumes for call in calls)
    repeats = [trial for trial in trials if record(trial).repeats is not None]
    durations = [call.spent for call in calls if call.spent is not None]
    expected = [sum(counts) for counts in zip_longest(*(call.reaching for call in calls), fillvalue=0)]
    epoch_seconds = [call.epoch_seconds for call in calls if call.epoch_seconds]
    planned_disk = _sum_if_known([call.disk for call in calls if call.reaching])
    return ResourceUsage(
        stages=tuple(_stages(plan.rungs, epochs, expected)),
        planned_trials=expected[0] if expected else None,
        trials=len(started),
        planned_seconds=_sum_if_known([call.seconds for call in calls if call.reaching]),
        seconds=sum(durations) if durations else None,
        planned_epoch_seconds=sum(epoch_seconds) / len(epoch_seconds) if epoch_seconds else None,
        unknown_calls=len(calls) - len(durations),
        training_seconds=training_seconds(trials),
        lost_epochs=sum(reached(trial) for trial in kept if trial.state is TrialState.FAIL),
        full_epochs=plan.max_epochs * len(started),
        unfinished=sum(count < plan.max_epochs for count in epochs),
        saved_by_stopping=sum(max(0, plan.max_epochs - count) for count in epochs),
        resumed=sum(map(len, pauses)),
        saved_by_resuming=sum(map(sum, pauses)) if from_checkpoints else 0,
        repeats=len(repeats),
        saved_by_repeats=sum(map(reached, repeats)),
        planned_disk=None if planned_disk is None else int(planned_disk),
        disk=disk,
    )


def _has_started(trial: FrozenTrial) -> bool:
    return trial.state in (TrialState.RUNNING, TrialState.PRUNED, TrialState.COMPLETE) and is_feasible(trial)


def _stages(rungs: Sequence[int], epochs: Sequence[int], expected: Sequence[int]) -> list[Stage]:
    """Training by rung.

    Args:
        rungs: the study's rungs, in epochs.
        epochs: epochs of each started trial.
        expected: number of trials to reach each rung; empty where no expectation was recorded.
    """
    stages = []
    for level, (below, rung) in enumerate(zip([0, *rungs], rungs, strict=False)):
        planned = expected[level] if expected else None
        stages.append(
            Stage(
                rung=rung,
                planned_trials=planned,
                trials=sum(count >= rung for count in epochs),
                planned_epochs=None if planned is None else planned * (rung - below),
                epochs=sum(max(0, min(count, rung) - below) for count in epochs),
            )
        )
    return stages


def epochs_at_pauses(trial: FrozenTrial, rungs: Sequence[int], by_number: Mapping[int, FrozenTrial]) -> set[int]:
    """Epochs after which the trial paused and was later resumed.

    A trial is promoted one rung at a time. So if its last job began at some epoch, it had paused there and at every
    rung below. Pauses between rungs, where a call ran out of time, are recorded in the trials that this one resumes.

    Args:
        trial: a trial of the study.
        rungs: the study's rungs, in epochs.
        by_number: all trials of the study.
    """
    held = record(trial)
    pauses = {rung for rung in rungs if rung <= held.start} | {held.start}
    while held.resumes is not None and held.resumes in by_number:
        held = record(by_number[held.resumes])
        pauses.add(held.paused)
    return pauses - {0}


def training_seconds(trials: Sequence[FrozenTrial]) -> float:
    """Seconds of all epochs of the trials, if each took as long as its trial's median epoch."""
    return sum((record(trial).epoch_seconds or 0.0) * reached(trial) for trial in distinct(trials))


def _sum_if_known(values: Sequence[float | None]) -> float | None:
    """The sum; None where there is no value, or one is unknown."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None
