"""What the stored trials of a study say: which are paused, repeat or resume others, and which are best.

Everything is in the trials' own attributes, so any process that opens the study knows as much.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.study.attributes import CONTINUES, EPOCH_SECONDS, FINGERPRINT, LAST_JOB, PAUSED, REPEAT_OF, RETRY_OF


def is_feasible(trial: FrozenTrial) -> bool:
    """Whether the trial kept every hard limit."""
    return all(value <= 0 for value in trial.constraints.values())


def is_paused(trial: FrozenTrial) -> bool:
    """Whether the trial can be resumed, be it still open or told PRUNED as its search ended."""
    return bool(trial.user_attrs.get(PAUSED)) and trial.state in (TrialState.RUNNING, TrialState.PRUNED)


def distinct(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """The trials without repeats, and without closed ones that others resume."""
    first = [t for t in trials if REPEAT_OF not in t.user_attrs]
    continued = {t.user_attrs[CONTINUES] for t in first if CONTINUES in t.user_attrs}
    return [t for t in first if t.number not in continued] if continued else first


def last_ones(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that were begun, without closed ones that others resume and failed ones that others try again."""
    begun = [t for t in trials if t.state is not TrialState.WAITING]
    gone_on = {t.user_attrs[key] for t in begun for key in (CONTINUES, RETRY_OF) if key in t.user_attrs}
    return [t for t in begun if t.number not in gone_on]


def epochs_of(trial: FrozenTrial, first_rung: int) -> int:
    """Epochs trained; for a paused trial those of its checkpoint, for a running one those at which it will pause.

    A trial that diverged or failed in its first epoch counts as one epoch, so that a search of such trials ends.
    """
    if is_paused(trial):
        return int(trial.user_attrs[PAUSED])
    if trial.state is TrialState.RUNNING:
        return int(trial.user_attrs.get(LAST_JOB, (0, first_rung))[1])
    return trial.last_step or int(trial.state.is_finished() and is_feasible(trial))


def mean_epoch_seconds(trials: Iterable[FrozenTrial]) -> float | None:
    """Mean wall-clock time of an epoch over all epochs trained; None before the first."""
    timed = [(t.user_attrs[EPOCH_SECONDS], t.last_step or 0) for t in trials if EPOCH_SECONDS in t.user_attrs]
    epochs = sum(count for _, count in timed)
    return sum(seconds * count for seconds, count in timed) / epochs if epochs else None


def known_result(trials: Iterable[FrozenTrial], fingerprint: str, number: int) -> FrozenTrial | None:
    """The trial of the same candidate that started before trial `number` and did not fail; None if there is none."""
    same = [t for t in trials if t.number < number and t.user_attrs.get(FINGERPRINT) == fingerprint]
    return next((t for t in distinct(same) if t.state is not TrialState.FAIL), None)


def counted(trials: Iterable[FrozenTrial]) -> int:
    """Number of trials that count against `--trials`: all but failed, infeasible, repeated and queued ones."""
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    return sum(t.state in states and is_feasible(t) for t in distinct(trials))


def reached(trial: FrozenTrial) -> int:
    """Epochs of the trial that were trained and reported."""
    return trial.last_step or 0


def value_of(trial: FrozenTrial) -> float | None:
    """The value of a trial that has ended: the first objective, as it was reported last; None without one.

    Optuna keeps it in the trial, but for trials stopped early in a study of two objectives.
    """
    if trial.values:
        return float(trial.values[0])
    last = trial.last_step if trial.state is TrialState.PRUNED else None
    value = math.nan if last is None else trial.intermediate_values[last]
    return value if math.isfinite(value) else None


def maximizes(study: optuna.Study) -> bool:
    """Whether larger values of the first objective are better."""
    return study.directions[0] is StudyDirection.MAXIMIZE


def ranked(study: optuna.Study) -> list[FrozenTrial]:
    """Feasible trials with a value, best first: complete ones, then those that were stopped, the longest first.

    Values after different numbers of epochs do not compare, so a trial stopped early never precedes a complete one.
    A second objective does not count.
    """
    sign = -1 if maximizes(study) else 1
    trials = [t for t in distinct(study.get_trials(deepcopy=False)) if t.state.is_finished()]
    valued = [(t, value) for t in trials if (value := value_of(t)) is not None and reached(t) and is_feasible(t)]
    valued.sort(key=lambda pair: (pair[0].state != TrialState.COMPLETE, -reached(pair[0]), sign * pair[1]))
    return [trial for trial, _ in valued]
