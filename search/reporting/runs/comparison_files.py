"""The files of a comparison: `comparison.html`, and its figures as CSV files."""

from __future__ import annotations

from pathlib import Path

from search.reporting.pages.comparison_page import write_comparison_page
from search.reporting.tables import write_csv
from search.retraining.comparison import Comparison

Row = dict[str, object]


def write_comparison(folder: Path, comparison: Comparison) -> list[Path]:
    """Writes runs.csv, pairs.csv, per_class.csv and comparison.html; returns their paths."""
    tables = {"runs.csv": _runs(comparison), "pairs.csv": _pairs(comparison), "per_class.csv": _per_class(comparison)}
    for name, rows in tables.items():
        write_csv(folder / name, rows)
    write_comparison_page(folder / "comparison.html", comparison)
    return [folder / name for name in (*tables, "comparison.html")]


def _runs(comparison: Comparison) -> list[Row]:
    return [
        {
            "run": run.name,
            "title": run.record.title,
            "folder": str(run.folder),
            "images": len(run.true),
            "accuracy": run.accuracy,
            "low": run.interval[0],
            "high": run.interval[1],
            "parameters": run.cost.parameters,
            "macs": run.cost.macs,
            "training_seconds": run.record.seconds,
            "epochs": len(run.record.history),
            "training_images": run.record.train_images,
        }
        for run in comparison.runs
    ]


def _pairs(comparison: Comparison) -> list[Row]:
    return [
        {
            "first": pair.first.name,
            "second": pair.second.name,
            "difference": pair.difference,
            "low": pair.low,
            "high": pair.high,
            "only_first_right": pair.test.only_first,
            "only_second_right": pair.test.only_second,
            "statistic": pair.test.statistic,
            "p": pair.test.p,
            "p_holm": pair.adjusted_p,
            "method": pair.test.method,
            "verdict": pair.verdict,
        }
        for pair in comparison.pairs
    ]


def _per_class(comparison: Comparison) -> list[Row]:
    return [
        {
            "class": row.name,
            "images": row.images,
            "first": pair.first.name,
            "second": pair.second.name,
            "first_accuracy": row.first,
            "second_accuracy": row.second,
            "difference": row.difference,
            "low": row.low,
            "high": row.high,
        }
        for pair in comparison.pairs
        for row in pair.classes
    ]
