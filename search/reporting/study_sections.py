"""The words and tables of a study's report."""

from __future__ import annotations

from search.format import format_bytes, format_duration
from search.planning.plan import Plan
from search.reporting.fronts import front_section, limits_section
from search.reporting.rank_correlation import FEWEST, Agreement
from search.reporting.resource_usage import Bill
from search.reporting.study_report import StudyReport
from search.reporting.tables import Section, Table


def sections(report: StudyReport) -> list[Section]:
    """The report for a person."""
    found = [trust_section(report), bill_section(report.bill, report.plan)]
    if report.best:
        found.append(limits_section(report.best, report.percent))
    if report.standings:
        found.append(front_section(report.standings, report.percent))
    return found


def trust_section(report: StudyReport) -> Section:
    """Whether the short run is trustworthy."""
    title = "Is the short run trustworthy?"
    if len(report.plan.rungs) == 1:
        return Section(title, ("There is one rung only: every trial is trained in full.",))
    told = [pair for pair in report.trusted if pair.rho is not None]
    parts: list[str | Table] = [
        _verdict(told[0]) if told else f"Too few trials to tell: it takes {FEWEST} at two rungs."
    ]
    parts += [_history(report.history)] if report.history else []
    if report.trusted:
        head = ("epochs", "trials at both", "rank correlation", "95 % interval", "later best was")
        parts.append(Table(head, tuple(_pair_cells(pair) for pair in report.trusted)))
    notes = ["Spearman's rank correlation; intervals by Fisher's transformation (Bonett and Wright 2000)."]
    if any(pair.selected for pair in report.trusted):
        notes.append(
            "Only trials that were promoted, or not pruned, reached the longer run. The range of their values is "
            "narrower for it, so the correlation is an underestimate of what all trials would show."
        )
    return Section(title, tuple(parts), tuple(notes) if report.trusted else ())


def _verdict(pair: Agreement) -> str:
    assert pair.interval is not None
    low, high = pair.interval
    if low > 0:
        shown = "rank the trials alike, more than by chance"
    elif high < 0:
        shown = "rank the trials the other way round"
    else:
        shown = "are not shown to rank the trials alike at this sample size"
    return f"Values after {_epochs(pair.low)} and after {pair.high} {shown}: rank correlation {pair.rho:.2f}."


def _history(history: tuple[Agreement, ...]) -> str:
    words = [f"{ordinal(pair.place_of_all or 0)} of {pair.reached_low} after {_epochs(pair.low)}" for pair in history]
    return f"Trial {history[0].winner}, the best after {_epochs(history[0].high)}, was {', '.join(words)}."


def _pair_cells(pair: Agreement) -> tuple[str, ...]:
    rho, interval = "too few trials to tell", ""
    if pair.rho is not None and pair.interval is not None:
        rho, interval = f"{pair.rho:.2f}", "{:.2f} to {:.2f}".format(*pair.interval)
    elif pair.both >= FEWEST:
        rho = "all values are equal"
    best = "" if pair.place is None else f"{ordinal(pair.place)} of {pair.both}"
    return f"{pair.low} and {pair.high}", f"{pair.both} of {pair.reached_low}", rho, interval, best


def bill_section(bill: Bill, plan: Plan) -> Section:
    """Plan against actual."""
    planned_seconds, seconds = (None if s is None else format_duration(s) for s in (bill.planned_seconds, bill.seconds))
    planned_disk = None if bill.planned_disk is None else format_bytes(bill.planned_disk)
    rows = [
        ("trials started", _count(bill.planned_trials), _count(bill.trials)),
        *(
            (f"trials trained to {_epochs(stage.rung)}", _count(stage.planned_trials), _count(stage.trials))
            for stage in bill.stages
        ),
        *(
            (f"epochs trained, from {low} to {stage.rung}", _count(stage.planned_epochs), _count(stage.epochs))
            for low, stage in zip([0, *plan.rungs], bill.stages, strict=False)
        ),
        ("epochs trained in all", _count(bill.planned_epochs), _count(bill.epochs)),
        ("time", planned_seconds or "-", seconds or "-"),
        ("seconds an epoch", _seconds(bill.planned_epoch_seconds), _seconds(bill.epoch_seconds)),
        ("checkpoints of paused trials", planned_disk or "-", format_bytes(bill.disk)),
    ]
    notes = ["Planned is what each call of the search expected when it began."] if bill.planned_trials else []
    if bill.planned_trials is None:
        notes.append("No plan of trials is recorded: the study is of an older version, or its trainer's speed unknown.")
    if bill.unknown_calls:
        notes.append(f"The time of {bill.unknown_calls} call(s) is not known: they still run, or were killed.")
    return Section(
        "Plan against actual", (Table(("", "planned", "actual"), tuple(rows)), *_savings(bill)), tuple(notes)
    )


def _savings(bill: Bill) -> list[str]:
    full = f"Training every trial in full would have taken {bill.full_epochs:,} epochs"
    if bill.full_seconds >= 1:
        spent = format_duration(bill.training_seconds)
        full += f", about {format_duration(bill.full_seconds)} instead of {spent} of training"
    lines = [
        f"{full}.",
        f"Saved by stopping {bill.unfinished} trials early: {bill.saved_by_stopping:,} epochs.",
    ]
    if bill.resumed:
        lines.append(
            f"Saved by going on from a checkpoint, {bill.resumed} times: {bill.saved_by_resuming:,} epochs."
            if bill.saved_by_resuming
            else f"{bill.resumed} promotions: none saved an epoch, since this space trains from the start each time."
        )
    if bill.repeats:
        lines.append(f"Saved by {bill.repeats} repeats, whose result was reused: {bill.saved_by_repeats:,} epochs.")
    if bill.lost_epochs:
        lines.append(f"Lost in trials that failed or were interrupted: {bill.lost_epochs:,} epochs.")
    return lines


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _seconds(value: float | None) -> str:
    return f"{value:.2g}" if value else "-"


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' * (count > 1)}"


def ordinal(number: int) -> str:
    """Such as 2nd or 13th."""
    last = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{last}"
