"""The complete trials of a study by value and cost: its Pareto fronts, and the best trial within each limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.format import format_value
from search.reporting.pareto import Point, front
from search.reporting.tables import Section, Table
from search.study.trials import distinct, is_feasible
from spaces.multi_limit import LIMIT


@dataclass(frozen=True)
class Standing:
    """A complete trial by what it costs and what it is worth."""

    number: int
    """Of the trial."""
    value: float
    """The objective after a full trial."""
    parameters: int
    """Of its network."""
    macs: int
    """Multiply-accumulates an image of its network."""
    limit: int | None
    """The parameter limit that it drew, where the study has several."""
    fewest_parameters: bool
    """Whether no other complete trial is at least as good with fewer parameters."""
    fewest_macs: bool
    """Whether no other complete trial is at least as good with fewer multiply-accumulates."""

    def row(self) -> dict[str, object]:
        """For a CSV file."""
        return {
            "trial": self.number,
            "value": self.value,
            "parameters": self.parameters,
            "macs": self.macs,
            "param_budget": self.limit,
            "on_parameters_front": self.fewest_parameters,
            "on_macs_front": self.fewest_macs,
        }


def standings(study: optuna.Study) -> list[Standing]:
    """The complete feasible trials that have a cost, best first."""
    sign = 1.0 if study.direction is StudyDirection.MAXIMIZE else -1.0
    trials = [t for t in distinct(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) if is_feasible(t)]
    costed = [t for t in trials if {"parameters", "macs"} <= t.user_attrs.keys()]
    fronts = {name: front([_point(t, name, sign) for t in costed]) for name in ("parameters", "macs")}
    found = [
        Standing(
            t.number,
            _value(t),
            t.user_attrs["parameters"],
            t.user_attrs["macs"],
            t.params.get(LIMIT),
            index in fronts["parameters"],
            index in fronts["macs"],
        )
        for index, t in enumerate(costed)
    ]
    return sorted(found, key=lambda s: (-sign * s.value, s.number))


def _point(trial: FrozenTrial, cost: str, sign: float) -> Point:
    return Point(trial.user_attrs[cost], sign * _value(trial))


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def best_by_limit(standings: Sequence[Standing], limits: Sequence[int]) -> list[tuple[int, Standing | None]]:
    """The best complete trial that keeps each limit, smallest first; it may have drawn a smaller one."""
    return [(limit, next((s for s in standings if s.parameters <= limit), None)) for limit in sorted(limits)]


def front_section(standings: Sequence[Standing], percent: bool, most: int | None = None) -> Section:
    """The two fronts.

    Args:
        standings: of a study, best first.
        percent: whether values are accuracies.
        most: rows to show, the best ones; None is all.
    """
    members = [s for s in standings if s.fewest_parameters or s.fewest_macs]
    rows = [
        (
            str(s.number),
            format_value(s.value, percent),
            f"{s.parameters:,}",
            f"{s.macs:,}",
            " and ".join(filter(None, ("parameters" * s.fewest_parameters, "MACs" * s.fewest_macs))),
        )
        for s in members[:most]
    ]
    notes = ["No other complete trial is at least as good with fewer parameters, or with fewer MACs, as the row says."]
    if len(rows) < len(members):
        notes.append(f"{len(members) - len(rows)} more in the report: `python -m search.report`.")
    table = Table(("trial", "value", "parameters", "MACs", "none better for its"), tuple(rows))
    return Section("Pareto front", (table,), tuple(notes))


def limits_section(best: Sequence[tuple[int, Standing | None]], percent: bool) -> Section:
    """The best trial within each limit."""
    rows = [
        (f"{limit:,}", "none is complete yet", "", "", "")
        if s is None
        else (f"{limit:,}", str(s.number), format_value(s.value, percent), f"{s.parameters:,}", f"{s.macs:,}")
        for limit, s in best
    ]
    table = Table(("limit", "best complete trial", "value", "parameters", "MACs"), tuple(rows))
    note = "Sampler and promotion compare the trials of all limits, so smaller limits were searched less closely."
    return Section("Best trial within each limit", (table,), (note,))
