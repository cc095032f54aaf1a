"""The files of a study's report: `report.md`, and its figures as CSV files."""

from __future__ import annotations

from pathlib import Path

from cifar.files import write_text
from search.reporting.studies.importance import Importance
from search.reporting.studies.pareto import CostedTrial
from search.reporting.studies.rank_correlation import RankCorrelation
from search.reporting.studies.resource_usage import ResourceUsage
from search.reporting.studies.study_report import StudyReport
from search.reporting.studies.study_sections import sections
from search.reporting.tables import markdown, write_csv
from search.study.objectives import FrontTrial

Row = dict[str, object]


def write_study_report(folder: Path, report: StudyReport) -> list[Path]:
    """Writes report.md and the figures as CSV files, those that there are; returns their paths."""
    title = [f"# Report of study `{report.name}`", "", "Written by `python -m search.report`.", ""]
    pairs = dict.fromkeys((*report.correlations, *report.winner_history))
    tables = {"rung_agreement.csv": [_correlation_row(pair) for pair in pairs], "bill.csv": _usage_rows(report.usage)}
    if report.costed:
        tables["pareto.csv"] = [_costed_row(trial) for trial in report.costed]
    if report.second is not None:
        tables["front.csv"] = [_front_row(row, report.second) for row in report.front]
    tables["curves.csv"] = [
        {"trial": row.number, "epoch": epoch, "value": value, "fate": row.fate.value}
        for row in report.trials
        for epoch, value in row.values.items()
    ]
    if report.importance:
        tables["importance.csv"] = _importance_rows(report.importance)
    write_text(folder / "report.md", "\n".join([*title, *markdown(sections(report))]).rstrip() + "\n")
    for name, rows in tables.items():
        write_csv(folder / name, rows)
    return [folder / name for name in ("report.md", *tables)]


def _correlation_row(pair: RankCorrelation) -> Row:
    low, high = pair.interval or (None, None)
    return {
        "low_epochs": pair.low,
        "high_epochs": pair.high,
        "trials_at_low": pair.reached_low,
        "trials_at_both": pair.both,
        "spearman": pair.rho,
        "interval_low": low,
        "interval_high": high,
        "best_at_high": pair.winner,
        "its_place_at_low": pair.place,
        "its_place_at_low_of_all": pair.place_of_all,
    }


def _usage_rows(usage: ResourceUsage) -> list[Row]:
    rows: list[tuple[str, object, object]] = [("trials_started", usage.planned_trials, usage.trials)]
    for stage in usage.stages:
        rows.append((f"trials_to_{stage.rung}_epochs", stage.planned_trials, stage.trials))
        rows.append((f"epochs_in_stage_to_{stage.rung}", stage.planned_epochs, stage.epochs))
    rows += [
        ("epochs", usage.planned_epochs, usage.epochs),
        ("seconds", usage.planned_seconds, usage.seconds),
        ("seconds_an_epoch", usage.planned_epoch_seconds, usage.epoch_seconds),
        ("checkpoint_bytes", usage.planned_disk, usage.disk),
        ("training_seconds", None, round(usage.training_seconds, 1)),
        ("epochs_if_all_in_full", None, usage.full_epochs),
        ("epochs_saved_by_stopping", None, usage.saved_by_stopping),
        ("times_resumed", None, usage.resumed),
        ("epochs_saved_by_resuming", None, usage.saved_by_resuming),
        ("repeats", None, usage.repeats),
        ("epochs_saved_by_repeats", None, usage.saved_by_repeats),
        ("epochs_lost", None, usage.lost_epochs),
    ]
    return [{"what": what, "planned": planned, "actual": actual} for what, planned, actual in rows]


def _importance_rows(found: Importance) -> list[Row]:
    return [
        {"parameter": name, "share": share, "trials": found.trials[name], "epochs": found.rung}
        for name, share in found.shares
    ]


def _costed_row(trial: CostedTrial) -> Row:
    return {
        "trial": trial.number,
        "value": trial.value,
        "parameters": trial.parameters,
        "macs": trial.macs,
        "param_budget": trial.limit,
        "on_parameters_front": trial.on_parameters_front,
        "on_macs_front": trial.on_macs_front,
    }


def _front_row(row: FrontTrial, second: str) -> Row:
    return {
        "trial": row.trial.number,
        "value": row.value,
        second: row.second,
        "on_front": row.on_front,
        "is_knee": row.is_knee,
    }
