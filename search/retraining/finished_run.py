"""Finished runs, found by folder or name, with their predictions and costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cifar.networks.complexity import Cost
from cifar.stats.intervals import wilson_interval
from search.retraining.run_record import RUN, RunRecord
from search.settings import STUDIES_FOLDER, StudyError

PREDICTIONS = "test_predictions.csv"


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, its predictions and costs."""

    name: str
    """Short name, unlike those of the other runs."""
    folder: Path
    """Where its files lie."""
    record: RunRecord
    """What was run, and its history."""
    cost: Cost
    """Parameters and multiply-accumulates of the network."""
    true: tuple[str, ...]
    """True class of each test image."""
    predicted: tuple[str, ...]
    """Predicted class of each test image."""
    classes: tuple[str, ...]
    """Names of the classes by label."""

    @property
    def right(self) -> list[bool]:
        """Whether each test image was classified correctly."""
        return [true == predicted for true, predicted in zip(self.true, self.predicted, strict=True)]

    @property
    def correct(self) -> int:
        """Test images classified correctly."""
        return sum(self.right)

    @property
    def accuracy(self) -> float:
        """Share of the test images that were classified correctly."""
        return self.correct / len(self.true)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy."""
        return wilson_interval(self.correct, len(self.true))


def find_run(given: str) -> Path:
    """The folder of a finished run.

    Args:
        given: the folder, or the name of one in studies/*/runs/; the recipe's name for a recipe's run.

    Raises:
        StudyError: none or several fit.
    """
    if (Path(given) / RUN).is_file():
        return Path(given)
    folders = sorted(path.parent for path in STUDIES_FOLDER.glob(f"*/runs/*/{RUN}"))
    exact = [folder for folder in folders if folder.name == given]
    fitting = exact or [
        folder for folder in folders if folder.name.rpartition("-seed")[0] in (given, f"recipe-{given}")
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise StudyError(
            "a run's name must fit one run",
            got=f"{given!r}, which fits {', '.join(map(str, fitting))}",
            remedy="Give one of these folders",
        )
    known = ", ".join(folder.name for folder in folders[:10])
    raise StudyError(
        f"a run is the folder of a finished run, with {RUN} in it, or its name",
        got=repr(given),
        remedy=f"Known names: {known}" if known else "Train one with python -m search.retrain",
    )


def load_run(folder: Path, name: str | None = None) -> FinishedRun:
    """A finished run.

    Raises:
        UserError: not finished, or a file is missing or damaged.
    """
    record = RunRecord.read(folder)
    if record.cost is None or not (folder / PREDICTIONS).exists():
        raise StudyError(
            "only finished runs can be compared",
            got=f"{folder}, which has not been trained to its end",
            remedy="Continue it with the python -m search.retrain command that began it",
        )
    try:
        table = pd.read_csv(folder / PREDICTIONS, dtype=str, keep_default_na=False)
        return FinishedRun(
            name=name or folder.resolve().name,
            folder=folder,
            record=record,
            cost=record.cost,
            true=tuple(table["true"]),
            predicted=tuple(table["predicted"]),
            classes=tuple(column.removeprefix("p_") for column in table.columns[4:]),
        )
    except (KeyError, ValueError, OSError) as error:
        raise StudyError(
            f"{folder} must hold the files of a finished run, as they were written",
            got=f"{type(error).__name__}: {error} in {PREDICTIONS}",
            remedy="Retrain it",
        ) from None
