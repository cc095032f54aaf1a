"""The card of the reference recipes: `studies/reference/README.md`, measured figures beside published ones.

Rows are kept in `studies/reference/results.csv`, one a run, so that a run on one machine does not lose another's.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pandas as pd

from cifar.candidate import RecipeFile
from cifar.files import atomic_write, read_json, write_text
from search.format import format_duration
from search.retraining.run_record import RUN, Outcome
from search.settings import STUDIES_FOLDER

FOLDER = STUDIES_FOLDER / "reference"
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


def record(recipe: str, outcome: Outcome) -> Path:
    """Adds or renews the run's row and writes the card; returns the card's path.

    Args:
        recipe: name of a built-in recipe.
        outcome: of the run.
    """
    path = FOLDER / RESULTS
    rows: list[Row] = pd.read_csv(path).to_dict("records") if path.exists() else []  # type: ignore[assignment]
    new = _row(recipe, outcome)
    rows = [row for row in rows if (row["run"], row["data"]) != (new["run"], new["data"])] + [new]
    rows.sort(key=lambda row: (str(row["recipe"]), str(row["run"])))
    with atomic_write(path) as file:
        pd.DataFrame(rows).to_csv(file, index=False)
    card = FOLDER / "README.md"
    write_text(card, HEADER + "".join(_line(row) for row in rows))
    return card


def _row(recipe: str, outcome: Outcome) -> Row:
    run, test = read_json(outcome.folder / RUN), outcome.evaluations["test"]
    return {
        "run": outcome.folder.name,
        "recipe": recipe,
        "parameters": outcome.parameters,
        "data": Path(run["source"]).name,
        "train_images": run["train_images"],
        "epochs": run["epochs"],
        "seconds": round(outcome.seconds, 1),
        "test_accuracy": test.accuracy,
        "low": test.low,
        "high": test.high,
        "hardware": run["device"],
        "date": time.strftime("%Y-%m-%d"),
    }


def _line(row: Row) -> str:
    recipe = str(row["recipe"])
    published = RecipeFile.named(recipe).published
    cells = [
        f"`{recipe}`",
        f"{row['parameters']:,}",
        f"{row['train_images']:,} images of `{row['data']}`",
        f"{float(str(row['epochs'])):g}",
        format_duration(row["seconds"]),
        f"{100 * float(str(row['test_accuracy'])):.2f} % "
        f"({100 * float(str(row['low'])):.2f} to {100 * float(str(row['high'])):.2f})",
        f"{published.test_accuracy:g} %" if published else "none",
        str(row["hardware"]),
        str(row["date"]),
    ]
    return f"| {' | '.join(cells)} |\n"
