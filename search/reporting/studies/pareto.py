"""The complete trials of a study by value and cost: which are non-dominated, and which is best within each limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.study.attributes import LATENCY, record
from search.study.fronts import Point, non_dominated
from search.study.trials import distinct, is_feasible, maximizes, value_of
from spaces.multi_limit import LIMIT


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
    latency: float | None
    """Milliseconds in which the network answers one image, where that is an objective."""
    limit: int | None
    """The parameter limit that the trial drew, where the study has several."""
    on_parameters_front: bool
    """Whether it is non-dominated by value and parameters."""
    on_macs_front: bool
    """Whether it is non-dominated by value and multiply-accumulates."""
    on_latency_front: bool
    """Whether it is non-dominated by value and latency."""


def costed_trials(study: optuna.Study) -> list[CostedTrial]:
    """The complete feasible trials that have a cost, best first."""
    sign = 1.0 if maximizes(study) else -1.0
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    costed = [
        (trial, _value(trial), held.parameters, held.macs)
        for trial, held in ((trial, record(trial)) for trial in distinct(complete) if is_feasible(trial))
        if held.parameters is not None and held.macs is not None
    ]
    by_parameters = non_dominated([Point(parameters, sign * value) for _, value, parameters, _ in costed])
    by_macs = non_dominated([Point(macs, sign * value) for _, value, _, macs in costed])
    latency = [trial.user_attrs.get(LATENCY) for trial, *_ in costed]
    timed = [Point(ms, sign * row[1]) for ms, row in zip(latency, costed, strict=True) if ms is not None]
    by_latency = non_dominated(timed) if len(timed) == len(costed) else []
    found = [
        CostedTrial(
            number=trial.number,
            value=value,
            parameters=parameters,
            macs=macs,
            latency=latency[index],
            limit=trial.params.get(LIMIT),
            on_parameters_front=index in by_parameters,
            on_macs_front=index in by_macs,
            on_latency_front=index in by_latency,
        )
        for index, (trial, value, parameters, macs) in enumerate(costed)
    ]
    return sorted(found, key=lambda trial: (-sign * trial.value, trial.number))


def _value(trial: FrozenTrial) -> float:
    value = value_of(trial)
    assert value is not None  # of every complete trial
    return value


def best_by_limit(trials: Sequence[CostedTrial], limits: Sequence[int]) -> list[tuple[int, CostedTrial | None]]:
    """The best complete trial that keeps each limit, smallest limit first; it may have drawn a smaller one.

    Args:
        trials: a study's complete trials, best first.
        limits: numbers of parameters.
    """
    return [(limit, next((t for t in trials if t.parameters <= limit), None)) for limit in sorted(limits)]
