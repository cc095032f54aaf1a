"""The card of the reference recipes: `studies/reference/README.md`, measured figures beside published ones.

Rows are kept in `studies/reference/results.csv`, one a run, so that a run on one machine does not lose another's.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pandas as pd

from cifar.candidate import RecipeFile
from cifar.files import write_text
from search.format import format_duration, format_percent, format_range
from search.reporting.tables import write_csv
from search.retraining.candidates import RECIPES_STUDY
from search.retraining.final_evaluation import Outcome
from search.settings import STUDIES_FOLDER

FOLDER = STUDIES_FOLDER / RECIPES_STUDY
RESULTS = "results.csv"

Row = dict[str, Any]

HEADER = """# Reference recipes

Written by `python -m search.retrain --recipe NAME`, a row a run. Published figures are of official CIFAR-10 and full
length; measured ones are of the data and length in their row, with the 95 % Wilson interval of the test accuracy.
Images in JPEG form differ from the official pixels: set a figure measured on them beside a published one only as a
rough guide.

| recipe | parameters | data | passes over them | training time | test accuracy | published | hardware | date |
|---|---|---|---|---|---|---|---|---|
"""


def record_run(recipe: str, outcome: Outcome) -> Path:
    """Adds or renews the run's row and writes the card; returns the card's path.

    Args:
        recipe: name of a built-in recipe.
        outcome: outcome of the run.
    """
    path = FOLDER / RESULTS
    rows: list[Row] = pd.read_csv(path).to_dict("records") if path.exists() else []  # type: ignore[assignment]
    new = _row(recipe, outcome)
    rows = [row for row in rows if (row["run"], row["data"]) != (new["run"], new["data"])] + [new]
    rows.sort(key=lambda row: (str(row["recipe"]), str(row["run"])))
    write_csv(path, rows)
    card = FOLDER / "README.md"
    write_text(card, HEADER + "".join(_line(row) for row in rows))
    return card


def _row(recipe: str, outcome: Outcome) -> Row:
    run, test = outcome.record, outcome.test
    return {
        "run": outcome.folder.name,
        "recipe": recipe,
        "parameters": outcome.cost.parameters,
        "data": Path(run.source).name,
        "train_images": run.train_images,
        "epochs": run.epochs,
        "seconds": round(run.seconds, 1),
        "test_accuracy": test.accuracy,
        "low": test.low,
        "high": test.high,
        "hardware": run.device,
        "date": time.strftime("%Y-%m-%d"),
    }


def _line(row: Row) -> str:
    recipe = str(row["recipe"])
    published = RecipeFile.named(recipe).published
    cells = [
        f"`{recipe}`",
        f"{row['parameters']:,}",
        f"{row['train_images']:,} images of `{row['data']}`",
        f"{row['epochs']:g}",
        format_duration(row["seconds"]),
        f"{format_percent(row['test_accuracy'])} ({format_range(row['low'], row['high'])})",
        f"{published.test_accuracy:g} %" if published else "none",
        str(row["hardware"]),
        str(row["date"]),
    ]
    return f"| {' | '.join(cells)} |\n"
