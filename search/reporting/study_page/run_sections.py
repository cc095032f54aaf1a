"""What was trained in full after the search: the finalists over their seeds, and every run with its page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cifar.errors import UserError
from cifar.files import read_json
from search.format import format_duration, format_percent, format_points, format_points_range, format_range
from search.reporting.pages import html
from search.reporting.pages.html import interval, percent
from search.retraining.run_record import RUN, RunRecord
from search.settings import FINALS

METRICS = "test_metrics.json"
PAGE = "report.html"
RUNS = "runs"
FINALISTS = "finalists.csv"
"""Files and folders that retraining leaves in a study's folder."""
CLASSES = 3
"""Classes of a run that are named as its weakest."""
MANY = 20
"""Classes above which their table is folded."""


@dataclass(frozen=True)
class RunHeadline:
    """A finished run in short."""

    folder: str
    """Its folder, relative to the study's."""
    record: RunRecord
    """What was run."""
    metrics: dict[str, Any]
    """Its evaluation on the test images, as the file has it."""
    has_page: bool
    """Whether its page is there."""

    @property
    def trial(self) -> int | None:
        """Number of the trial that was trained; None for a recipe."""
        kind, _, rest = self.record.title.partition(" ")
        number = rest.partition(" ")[0]
        return int(number) if kind == "trial" and number.isdecimal() else None


def finished_runs(folder: Path) -> list[RunHeadline]:
    """The finished runs of a study, by name; unfinished or damaged ones are left out."""
    return [run for path in sorted(folder.glob(f"{RUNS}/*/{RUN}")) if (run := _run(folder, path.parent)) is not None]


def _run(study: Path, folder: Path) -> RunHeadline | None:
    try:
        record, metrics = RunRecord.read(folder), read_json(folder / METRICS)
    except (UserError, OSError):
        return None
    if not record.finished:
        return None
    return RunHeadline(folder.relative_to(study).as_posix(), record, metrics, (folder / PAGE).exists())


def finalists(folder: Path) -> str:
    """The finalists as finalists.csv has them; empty without the file."""
    path = folder / FINALISTS
    if not path.exists():
        return ""
    table = pd.read_csv(path)
    rows = [_finalist(one) for one in table.to_dict("records")]
    columns = ("finalist", "seeds", "validation, mean", "95 % interval", "leader's lead", "95 % interval", "test, mean")
    note = (
        "Means and Student's intervals over training seeds. The leader is chosen by validation images; the test images "
        "choose nothing."
    )
    return html.table("Candidates trained in full with several seeds, best first.", columns, rows) + html.note(note)


def finals(folder: Path, address: str) -> str:
    """A link to the page of the study of the finals; empty where there is none.

    Args:
        folder: the study's folder.
        address: the study's folder as seen from the page; empty where the page lies in it.
    """
    name = f"{folder.name}{FINALS}"
    if not (folder.parent / name / PAGE).exists():
        return ""
    return html.link(f"The best were trained for longer in study {name}", f"{address}../{name}/{PAGE}")


def _finalist(one: dict[Any, Any]) -> tuple[str, ...]:
    def held(*names: str) -> bool:
        return all(pd.notna(one[name]) for name in names)

    validation = format_percent(one["val_mean"]) if held("val_mean") else "none"
    spread = format_range(one["val_low"], one["val_high"]) if held("val_low", "val_high") else "none"
    ends = ("difference_low", "difference_high")
    lead = f"{format_points(one['leader_less_this'])} points" if held("leader_less_this") else "the leader"
    range_ = format_points_range(*(one[name] for name in ends)) if held(*ends) else ""
    return str(one["finalist"]), str(one["seeds"]), validation, spread, lead, range_, format_percent(one["test_mean"])


def runs(found: Sequence[RunHeadline], address: str) -> str:
    """Every finished run's headline, with a link to its page; empty without a run.

    Args:
        found: the runs.
        address: the study's folder as seen from the page; empty where the page lies in it.
    """
    if not found:
        return ""
    columns = ("run", "test accuracy", "95 % interval", "weakest classes", "parameters", "passes", "time", "images")
    rows = [(f"{run.record.title}, seed {run.record.identity.settings.seed}", *_cells(run)) for run in found]
    links = [f"{address}{run.folder}/{PAGE}" if run.has_page else "" for run in found]
    note = "A run's name leads to its own page: curves, every class, confusions, images."
    table = html.table("On the test images, which nothing is chosen by.", columns, rows, kind="runs", links=links)
    return f"{table}{html.note(note)}<div class=after>{_classes(found)}</div>"


def _classes(found: Sequence[RunHeadline]) -> str:
    """The accuracy of each class in each run; a table for each set of classes, since runs may have other images."""
    tables: dict[tuple[str, ...], list[RunHeadline]] = {}
    for run in found:
        tables.setdefault(tuple(row["name"] for row in run.metrics["classes"]), []).append(run)
    return "".join(_class_table(names, runs) for names, runs in tables.items())


def _class_table(names: Sequence[str], runs: Sequence[RunHeadline]) -> str:
    columns = ("class", *(_short_name(run) for run in runs))
    shares = [[percent(row["accuracy"], 1) for row in run.metrics["classes"]] for run in runs]
    table = html.table("Accuracy of each class on the test images.", columns, list(zip(names, *shares, strict=True)))
    return table if len(names) <= MANY else html.details("Every class", table)


def _short_name(run: RunHeadline) -> str:
    title, seed = run.record.title.partition(" of study ")[0], run.record.identity.settings.seed
    return f"{title}, seed {seed}"


def _cells(run: RunHeadline) -> tuple[str, ...]:
    record, metrics = run.record, run.metrics
    weakest = sorted(metrics["classes"], key=lambda row: row["accuracy"])[:CLASSES]
    return (
        percent(metrics["accuracy"]),
        interval(metrics["low"], metrics["high"]),
        ", ".join(f"{row['name']} {percent(row['accuracy'], 0)}" for row in weakest),
        f"{record.cost.parameters:,}" if record.cost else "",
        f"{record.epochs:g}",
        format_duration(record.seconds),
        f"{record.train_images:,}",
    )
