"""Sections on accuracy against size: the Pareto front, and the best trial within each limit."""

from __future__ import annotations

from collections.abc import Sequence

from search.format import format_count, format_value
from search.reporting.studies.pareto import CostedTrial
from search.reporting.tables import Section, Table


def front_section(trials: Sequence[CostedTrial], percent: bool, most: int | None = None) -> Section:
    """The non-dominated trials.

    Args:
        trials: a study's complete trials, best first.
        percent: whether values are accuracies.
        most: most rows to show, the best ones; None is all.
    """
    members = [trial for trial in trials if trial.on_parameters_front or trial.on_macs_front]
    rows = tuple((*_cells(trial, percent), _fronts(trial)) for trial in members[:most])
    notes = [
        "Non-dominated by parameters: no other complete trial is at least as good with fewer parameters, or better "
        "with as many; likewise by MACs."
    ]
    if len(rows) < len(members):
        notes.append(f"{len(members) - len(rows)} more in the study's report, which `search.report` writes.")
    table = Table(("trial", "value", "parameters", "MACs", "non-dominated by"), rows, wrap_figures=True)
    return Section("Pareto front", (table,), tuple(notes))


def limits_section(best: Sequence[tuple[int, CostedTrial | None]], percent: bool) -> Section:
    """The best trial within each limit."""
    none = ("none is complete yet", "", "", "")
    rows = tuple((format_count(limit), *(_cells(trial, percent) if trial else none)) for limit, trial in best)
    table = Table(("limit", "best complete trial", "value", "parameters", "MACs"), rows, wrap_figures=True)
    note = "Sampler and promotion compare the trials of all limits, so smaller limits were searched less closely."
    return Section("Best trial within each limit", (table,), (note,))


def _cells(trial: CostedTrial, percent: bool) -> tuple[str, ...]:
    value = format_value(trial.value, percent)
    return str(trial.number), value, format_count(trial.parameters), format_count(trial.macs)


def _fronts(trial: CostedTrial) -> str:
    return " and ".join(filter(None, ("parameters" * trial.on_parameters_front, "MACs" * trial.on_macs_front)))
