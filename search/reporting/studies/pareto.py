"""The complete trials of a study by value and cost: which are non-dominated, and which is best within each limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.study.attributes import record
from search.study.trials import distinct, is_feasible
from spaces.multi_limit import LIMIT


@dataclass(frozen=True)
class Point:
    """A trial by what it costs and what it is worth."""

    cost: float
    """A cost such as the number of parameters; smaller is better."""
    value: float
    """A value such as the accuracy; larger is better."""

    def dominates(self, other: Point) -> bool:
        """Whether it is at least as good in both, and better in one."""
        return self.cost <= other.cost and self.value >= other.value and self != other


def non_dominated(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other one dominates, cheapest first; of equal points, all."""
    found: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: (points[i].cost, -points[i].value, i)):
        best = points[found[-1]] if found else None  # of the cheaper ones, the last found has the largest value
        if best is None or points[index].value > best.value or points[index] == best:
            found.append(index)
    return found


@dataclass(frozen=True)
class CostedTrial:
    """A complete trial by what it costs and what it is worth."""

    number: int
    """Number of the trial."""
    value: float
    """The objective after a full trial."""
    parameters: int
    """Parameters of the network."""
    macs: int
    """Multiply-accumulates an image of the network."""
    limit: int | None
    """The parameter limit that the trial drew, where the study has several."""
    on_parameters_front: bool
    """Whether it is non-dominated by value and parameters."""
    on_macs_front: bool
    """Whether it is non-dominated by value and multiply-accumulates."""


def costed_trials(study: optuna.Study) -> list[CostedTrial]:
    """The complete feasible trials that have a cost, best first."""
    sign = 1.0 if study.direction is StudyDirection.MAXIMIZE else -1.0
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    costed = [
        (trial, _value(trial), held.parameters, held.macs)
        for trial, held in ((trial, record(trial)) for trial in distinct(complete) if is_feasible(trial))
        if held.parameters is not None and held.macs is not None
    ]
    by_parameters = non_dominated([Point(parameters, sign * value) for _, value, parameters, _ in costed])
    by_macs = non_dominated([Point(macs, sign * value) for _, value, _, macs in costed])
    found = [
        CostedTrial(
            number=trial.number,
            value=value,
            parameters=parameters,
            macs=macs,
            limit=trial.params.get(LIMIT),
            on_parameters_front=index in by_parameters,
            on_macs_front=index in by_macs,
        )
        for index, (trial, value, parameters, macs) in enumerate(costed)
    ]
    return sorted(found, key=lambda trial: (-sign * trial.value, trial.number))


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def best_by_limit(trials: Sequence[CostedTrial], limits: Sequence[int]) -> list[tuple[int, CostedTrial | None]]:
    """The best complete trial that keeps each limit, smallest limit first; it may have drawn a smaller one.

    Args:
        trials: a study's complete trials, best first.
        limits: numbers of parameters.
    """
    return [(limit, next((t for t in trials if t.parameters <= limit), None)) for limit in sorted(limits)]
