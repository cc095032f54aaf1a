"""The trials of a study as the promotion policy sees them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from optuna.trial import FrozenTrial, TrialState

from search.engine.promotion import Status, TrialView
from search.planning.plan import Plan
from search.study.attributes import BASELINE, CONTINUES, EPOCH_SECONDS, REPEAT_OF
from search.study.objectives import second_of
from search.study.trials import epochs_of, is_feasible, is_paused

STATES = (TrialState.RUNNING, TrialState.PRUNED, TrialState.COMPLETE)


@dataclass(frozen=True)
class Seen:
    """What a scheduler sees of a study."""

    counting: list[Facts]
    """The distinct, feasible trials that were started and have not failed: those that count against `--trials`."""
    begun: bool
    """Whether any trial was started."""
    mean_seconds: float | None
    """Mean wall-clock time of an epoch over all epochs trained; None before the first is timed."""

    @cached_property
    def views(self) -> list[TrialView]:
        """The trials that are compared: all but the baseline, which would take the place of one."""
        return [facts.view for facts in self.counting if not facts.baseline]

    @cached_property
    def baseline(self) -> TrialView | None:
        """The baseline, where it runs or is paused."""
        marked = (f.view for f in self.counting if f.baseline)
        return next((view for view in marked if view.status is not Status.ENDED), None)

    def running_cost(self, mean: float) -> float:
        """Cost of what running trials still train, where a trial of unknown cost has the mean one."""
        running = (f for f in self.counting if f.view.status is Status.RUNNING)
        return sum((f.view.cost or mean) * (f.view.epochs - f.steps) for f in running)


@dataclass(frozen=True, slots=True)
class Facts:
    """What matters of a trial."""

    view: TrialView
    """As the policy sees it."""
    baseline: bool
    """Whether it is the baseline."""
    steps: int
    """Epochs that it has reported."""
    seconds: float | None
    """Seconds an epoch; None before the first."""


class Views:
    """Looks at a study's trials again and again. What a trial says is worked out once, until it has changed.

    Optuna replaces a trial that changes by another object, so that an object that was seen before says the same.

    Args:
        plan: the study's plan.
        maximize: whether larger values are better.
        timed: whether an epoch costs as many seconds as it takes; otherwise all epochs cost the same, 1.
        second: the second objective as `--objective` names it; None where there is one objective.
    """

    def __init__(self, plan: Plan, *, maximize: bool, timed: bool, second: str | None = None) -> None:
        self.rungs, self.maximize, self.timed, self.second = plan.rungs, maximize, timed, second
        self.trials: list[FrozenTrial] = []
        self.facts: list[Facts | None] = []  # of each trial; None of one that does not count
        self.continued: set[int] = set()  # numbers of closed trials that others resume
        self.epochs = 0  # that timed trials have reported
        self.seconds = 0.0  # that these epochs took

    def look(self, trials: Sequence[FrozenTrial]) -> Seen:
        """What all trials of the study, in their order, say now."""
        known = len(self.trials)
        changed = [i for i, t in enumerate(trials) if i >= known or self.trials[i] is not t]
        self.facts += [None] * (len(trials) - known)
        for index in changed:
            self._replace(index, self._facts(trials[index]))
        self.trials = list(trials)
        counting = [facts for facts in self.facts if facts is not None]
        begun = any(trial.state is not TrialState.WAITING for trial in trials)
        return Seen(counting, begun, self.seconds / self.epochs if self.epochs else None)

    def _replace(self, index: int, facts: Facts | None) -> None:
        for held, sign in ((self.facts[index], -1), (facts, 1)):
            if held is not None and held.seconds is not None:
                self.epochs += sign * held.steps
                self.seconds += sign * held.steps * held.seconds
        self.facts[index] = facts

    def _facts(self, trial: FrozenTrial) -> Facts | None:
        held = trial.user_attrs
        if REPEAT_OF in held or trial.number in self.continued:
            return None
        if CONTINUES in held and held[CONTINUES] not in self.continued:
            self.continued.add(held[CONTINUES])
            self._replace(held[CONTINUES], None)
        if trial.state not in STATES or not is_feasible(trial):
            return None
        running = Status.RUNNING if trial.state is TrialState.RUNNING else Status.ENDED
        status, epochs = Status.PAUSED if is_paused(trial) else running, epochs_of(trial, self.rungs[0])
        seconds = held.get(EPOCH_SECONDS)
        losses, cost = self._losses(trial, epochs), seconds if self.timed else 1.0
        view = TrialView(trial.number, status, epochs, losses, cost, second_of(trial, self.second))
        return Facts(view, BASELINE in held, trial.last_step or 0, seconds)

    def _losses(self, trial: FrozenTrial, epochs: int) -> dict[int, float]:
        sign = -1.0 if self.maximize else 1.0
        values = trial.intermediate_values
        return {
            rung: sign * values[rung]
            for rung in self.rungs
            if rung <= epochs and math.isfinite(values.get(rung, math.nan))
        }
