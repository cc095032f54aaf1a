"""The words and tables of a study's report."""

from __future__ import annotations

from search.format import format_bytes, format_count, format_duration, format_epochs, format_ordinal, format_trials
from search.reporting.studies.objectives_section import objectives_section
from search.reporting.studies.pareto_sections import front_section, limits_section
from search.reporting.studies.rank_correlation import FEWEST, RankCorrelation
from search.reporting.studies.resource_usage import ResourceUsage
from search.reporting.studies.standing_section import standing_section
from search.reporting.studies.study_report import StudyReport
from search.reporting.tables import Section, Table


def sections(report: StudyReport) -> list[Section]:
    """The report for a person."""
    found = [standing_section(report.standing)] if report.standing else []
    if report.second is not None:
        found.append(objectives_section(report.second, report.front, report.percent))
    found += [trust_section(report), usage_section(report)]
    if report.best:
        found.append(limits_section(report.best, report.percent))
    if report.costed:
        found.append(front_section(report.costed, report.percent))
    return found


# ---- rank correlation


def trust_section(report: StudyReport) -> Section:
    """Whether the short run is trustworthy."""
    title = "Is the short run trustworthy?"
    if len(report.plan.rungs) == 1:
        return Section(title, ("There is one rung only: every trial is trained in full.",))
    known = [pair for pair in report.correlations if pair.rho is not None]
    parts: list[str | Table] = [
        _verdict(known[0]) if known else f"Too few trials to tell: it takes {FEWEST} at two rungs."
    ]
    parts += [_history(report.winner_history)] if report.winner_history else []
    if report.correlations:
        columns = ("epochs", "trials at both", "rank correlation", "95 % interval", "later best was")
        parts.append(Table(columns, tuple(map(_cells, report.correlations)), wrap_figures=True))
    notes = ["Spearman's rank correlation; intervals by Fisher's transformation (Bonett and Wright 2000)."]
    if any(pair.selected for pair in report.correlations):
        notes.append(
            "Only trials that were promoted, or not pruned, reached the longer run. This narrows the range of their "
            "values, so the correlation is an underestimate of what all trials would show."
        )
    return Section(title, tuple(parts), tuple(notes) if report.correlations else ())


def _verdict(pair: RankCorrelation) -> str:
    assert pair.interval is not None
    low, high = pair.interval
    if low > 0:
        verdict = "rank the trials alike, more than by chance"
    elif high < 0:
        verdict = "rank the trials the other way round"
    else:
        verdict = "are not shown to rank the trials alike at this sample size"
    return f"Values after {format_epochs(pair.low)} and after {pair.high} {verdict}: rank correlation {pair.rho:.2f}."


def _history(history: tuple[RankCorrelation, ...]) -> str:
    places = [
        f"{format_ordinal(pair.place_of_all or 0)} of {pair.reached_low} after {format_epochs(pair.low)}"
        for pair in history
    ]
    return f"Trial {history[0].winner}, the best after {format_epochs(history[0].high)}, was {', '.join(places)}."


def _cells(pair: RankCorrelation) -> tuple[str, ...]:
    rho, interval = "too few trials to tell", ""
    if pair.rho is not None and pair.interval is not None:
        rho, interval = f"{pair.rho:.2f}", "{:.2f} to {:.2f}".format(*pair.interval)
    elif pair.both >= FEWEST:
        rho = "all values are equal"
    place = "" if pair.place is None else f"{format_ordinal(pair.place)} of {pair.both}"
    return f"{pair.low} and {pair.high}", f"{pair.both} of {pair.reached_low}", rho, interval, place


# ---- resource usage


def usage_section(report: StudyReport) -> Section:
    """Plan against actual."""
    usage, plan = report.usage, report.plan
    planned_disk, disk = ("-" if size is None else format_bytes(size) for size in (usage.planned_disk, usage.disk))
    rows = [("trials started", format_count(usage.planned_trials), format_count(usage.trials))]
    for stage in usage.stages:
        what = f"trials trained to {format_epochs(stage.rung)}"
        rows.append((what, format_count(stage.planned_trials), format_count(stage.trials)))
    for below, stage in zip([0, *plan.rungs], usage.stages, strict=False):
        what = f"epochs trained, from {below} to {stage.rung}"
        rows.append((what, format_count(stage.planned_epochs), format_count(stage.epochs)))
    rows += [
        ("epochs trained in all", format_count(usage.planned_epochs), format_count(usage.epochs)),
        ("time", _duration(usage.planned_seconds), _duration(usage.seconds)),
        ("seconds an epoch", _seconds(usage.planned_epoch_seconds), _seconds(usage.epoch_seconds)),
        ("checkpoints of paused trials", planned_disk, disk),
    ]
    table = Table(("", "planned", "actual"), tuple(rows))
    return Section("Plan against actual", (f"{report.counts}.", table, *_savings(usage)), tuple(_usage_notes(usage)))


def _savings(usage: ResourceUsage) -> list[str]:
    full = f"Training every trial in full would have taken {format_epochs(usage.full_epochs)}"
    if usage.full_seconds >= 1:
        spent = format_duration(usage.training_seconds)
        full += f", about {format_duration(usage.full_seconds)} instead of {spent} of training"
    lines = [
        f"{full}.",
        f"Saved by stopping {format_trials(usage.unfinished)} early: {format_epochs(usage.saved_by_stopping)}.",
    ]
    if usage.resumed:
        lines.append(
            f"Saved by resuming from a checkpoint, {usage.resumed} times: {format_epochs(usage.saved_by_resuming)}."
            if usage.saved_by_resuming
            else f"{usage.resumed} promotions: none saved an epoch, since this space trains from the start each time."
        )
    if usage.repeats:
        lines.append(
            f"Saved by {usage.repeats} repeats, whose result was reused: {format_epochs(usage.saved_by_repeats)}."
        )
    if usage.lost_epochs:
        lines.append(f"Lost in trials that failed or were interrupted: {format_epochs(usage.lost_epochs)}.")
    return lines


def _usage_notes(usage: ResourceUsage) -> list[str]:
    if usage.planned_trials is None:
        notes = [
            "No plan of trials is recorded: the study was made by an older version, or its trainer's speed is unknown."
        ]
    else:
        notes = ["Planned is what each call of the search expected when it began."]
    if usage.unknown_calls:
        notes.append(
            f"The duration of {usage.unknown_calls} call(s) is not known: they are still running, or were killed."
        )
    return notes


def _duration(seconds: float | None) -> str:
    return "-" if seconds is None else format_duration(seconds)


def _seconds(value: float | None) -> str:
    return f"{value:.2g}" if value else "-"
