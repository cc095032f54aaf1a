"""What was asked of a study and what came out: the headline, the verdict, the best candidate in words, failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from optuna.trial import FrozenTrial

from search.format import (
    format_count,
    format_duration,
    format_limits,
    format_numbers,
    format_points,
    format_points_range,
    format_value,
)
from search.reporting.candidate_words import in_short, in_words
from search.reporting.pages import html
from search.reporting.pages.html import interval, percent
from search.reporting.studies.standing_section import standing_section
from search.reporting.studies.study_report import StudyReport
from search.reporting.studies.trial_rows import Fate
from search.reporting.study_page.axes import show, value_name
from search.reporting.study_page.run_sections import RunHeadline
from search.study.attributes import record
from search.study.trials import reached, value_of

LOST = (Fate.FAILED, Fate.INFEASIBLE)
"""What becomes of trials without a result."""


def headline(report: StudyReport, runs: Sequence[RunHeadline]) -> str:
    """The numbers on top.

    Args:
        report: the figures of the study.
        runs: the study's finished runs; the first of the best trial, or else of any, is among the numbers.
    """
    stands = report.standing
    tiles = []
    if stands is None:
        tiles.append((f"best {value_name(report)}", "\u2013", "no trial has a value yet"))
    else:
        best = stands.best
        done = f"trial {best.number}, after {reached(best)} of {report.plan.max_epochs} epochs"
        tiles.append((f"best {value_name(report)}", show(report, value_of(best)), done))
        tiles += [_lead(report), *_test(best, runs), *_size(report, best)]
    spent = "" if report.usage.seconds is None else f"in {format_duration(report.usage.seconds)}"
    tiles.append(("trials", f"{len(report.trials):,}", spent))
    return html.tiles(tiles)


def _lead(report: StudyReport) -> tuple[str, str, str]:
    stands = report.standing
    assert stands is not None
    lead = stands.lead
    if lead is None:
        return "lead over the baseline", "\u2013", "the baseline leads" if stands.baseline else "no baseline to compare"
    if lead.interval is None:
        return (
            "lead over the baseline",
            format_value(lead.difference, percent=False),
            f"of trial {stands.leader.number}",
        )
    points, interval = format_points(lead.difference), format_points_range(*lead.interval)
    shown = "" if lead.shown else "; may be chance"
    return (
        "lead over the baseline",
        f"{points} points",
        f"trial {stands.leader.number}; 95\u00a0% interval {interval}{shown}",
    )


def _test(best: FrozenTrial, runs: Sequence[RunHeadline]) -> list[tuple[str, str, str]]:
    """What the test images say of the best trial, trained in full, or else of another one; nothing where none was."""
    trained = [run for run in runs if run.trial is not None]
    run = next((run for run in trained if run.trial == best.number), next(iter(trained), None))
    if run is None:
        return []
    own = run.trial == best.number
    note = f"trained in full; 95\u00a0% interval {interval(run.metrics['low'], run.metrics['high'])}"
    name = "its test accuracy" if own else "test accuracy"
    return [(name, percent(run.metrics["accuracy"]), note if own else f"trial {run.trial}, {note}")]


def _size(report: StudyReport, best: FrozenTrial) -> list[tuple[str, str, str]]:
    held, plan = record(best), report.plan
    if held.parameters is None:
        return []
    limits = plan.param_budgets or tuple(filter(None, (plan.param_budget,)))
    note = f"limit {format_limits(limits)}" if limits else "no limit"
    return [("parameters of the best", format_count(held.parameters), note)]


def section(report: StudyReport, asked: dict[str, str]) -> str:
    """The verdict, what was asked, and the best candidate in words.

    Args:
        report: the figures of the study.
        asked: what was asked of the study, by name.
    """
    facts = html.table("What was asked.", ("", ""), list(asked.items()), kind="facts")
    if report.standing is None:
        return html.paragraph("No trial has a value yet: give the search more time with the same command.") + facts
    verdict = html.report_parts(standing_section(report.standing), "")
    best = html.table("What came out best.", ("", ""), _best_facts(report, report.standing.best), kind="facts")
    return f"{verdict}\n<div class='grid after'>{best}{facts}</div>"


def _best_facts(report: StudyReport, best: FrozenTrial) -> list[tuple[str, str]]:
    held, plan = record(best), report.plan
    facts = {"trial": str(best.number), value_name(report): show(report, value_of(best))}
    facts["epochs"] = f"{reached(best)} of {plan.max_epochs}"
    if held.parameters is not None:
        limits = plan.param_budgets or tuple(filter(None, (plan.param_budget,)))
        of = f" of at most {format_limits(limits)}" if limits else ""
        facts["parameters"] = f"{held.parameters:,}{of}"
    if held.macs is not None:
        facts["multiply-accumulates an image"] = _of(held.macs, plan.mac_budget)
    words = in_words(held.candidate or {}) or {"candidate": in_short(held.candidate or {})}
    began = {"began as": held.warm_start} if held.warm_start else {}
    return list((facts | words | began).items())


def _of(count: int, limit: int | None) -> str:
    return f"{count:,} of at most {limit:,}" if limit else f"{count:,}"


def failures(report: StudyReport) -> str:
    """Trials without a result, by reason."""
    lost = [row for row in report.trials if row.fate in LOST]
    if not lost:
        return html.paragraph("None: no trial failed, and none went over a limit.")
    reasons = Counter((row.fate.value, row.reason or "unknown") for row in lost)
    rows = [
        (
            reason,
            fate,
            str(count),
            format_numbers([row.number for row in lost if (row.fate.value, row.reason or "unknown") == key]),
        )
        for key, count in reasons.most_common()
        for fate, reason in (key,)
    ]
    caption = f"{len(lost)} of {len(report.trials)} trials have no result."
    return html.table(caption, ("reason", "what", "trials", "which"), rows, kind="reasons")
