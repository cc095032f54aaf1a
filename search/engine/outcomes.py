"""What became of a study's trials, in the words of a running search; every count of trials is made here.

A stored trial is not always one of its own: one that was closed while paused goes on as another, and one whose process
was killed is tried again as another. Both count once, as the last of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from optuna.trial import FrozenTrial, TrialState

from search.engine.events import TrialOutcome
from search.format import format_trials
from search.study.attributes import REPEAT_OF, RETRY_OF
from search.study.trials import is_feasible, is_paused, last_ones

ORDER = (
    TrialOutcome.COMPLETE,
    TrialOutcome.PRUNED,
    TrialOutcome.PAUSED,
    None,
    TrialOutcome.QUEUED,
    TrialOutcome.REPEATED,
    TrialOutcome.INFEASIBLE,
    TrialOutcome.FAILED,
)
"""Outcomes in the order in which they are counted; None is a trial that runs."""


def outcomes(trials: Iterable[FrozenTrial]) -> list[tuple[FrozenTrial, TrialOutcome | None]]:
    """The trials of a study that count, and what became of each; None is a trial that runs."""
    found = list(trials)
    queued = {t.user_attrs.get(RETRY_OF) for t in found if t.state is TrialState.WAITING}
    return [(t, TrialOutcome.QUEUED if t.number in queued else outcome_of(t)) for t in last_ones(found)]


def outcome_of(trial: FrozenTrial) -> TrialOutcome | None:
    """What became of a trial, whatever other trials say of it; None if it runs."""
    if REPEAT_OF in trial.user_attrs:
        return TrialOutcome.REPEATED
    if not is_feasible(trial):
        return TrialOutcome.INFEASIBLE
    if is_paused(trial):
        return TrialOutcome.PAUSED
    words = {
        TrialState.COMPLETE: TrialOutcome.COMPLETE,
        TrialState.PRUNED: TrialOutcome.PRUNED,
        TrialState.FAIL: TrialOutcome.FAILED,
    }
    return words.get(trial.state)


def word(outcome: TrialOutcome | None) -> str:
    """An outcome as a word; None is a trial that runs."""
    return "running" if outcome is None else outcome.value


def counts(found: Iterable[TrialOutcome | None]) -> str:
    """Such as `12 trials: 3 complete, 8 pruned, 1 running`."""
    all_of_them = list(found)
    if not all_of_them:
        return "no trials yet"
    parts = [f"{all_of_them.count(outcome)} {word(outcome)}" for outcome in ORDER if outcome in all_of_them]
    return f"{format_trials(len(all_of_them))}: {', '.join(parts)}"


def counts_of(trials: Iterable[FrozenTrial]) -> str:
    """The same of stored trials."""
    return counts(outcome for _, outcome in outcomes(trials))
