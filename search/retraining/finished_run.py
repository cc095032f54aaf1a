"""Finished runs, found by folder or name, with their predictions and costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cifar.files import read_json
from cifar.stats.intervals import wilson_interval
from search.retraining.run_record import RUN
from search.settings import STUDIES_FOLDER, StudyError

PREDICTIONS = "test_predictions.csv"


@dataclass(frozen=True)
class FinishedRun:
    """A finished run's predictions and costs."""

    name: str
    """Short, and unlike those of the other runs."""
    title: str
    """As the run calls itself."""
    folder: Path
    """Where its files lie."""
    true: tuple[str, ...]
    """True class of each test image."""
    predicted: tuple[str, ...]
    """Predicted class of each."""
    classes: tuple[str, ...]
    """Names by label."""
    parameters: int
    """Of the network."""
    macs: int
    """Multiply-accumulates an image."""
    seconds: float
    """Of training, validation included."""
    epochs: int
    """Epochs trained."""
    train_images: int
    """Images trained on."""
    data: str
    """Fingerprint of the data; empty if the run does not tell."""
    source: str
    """Where the data came from."""

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
        """Share of them."""
        return self.correct / len(self.true)

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % Wilson interval."""
        return wilson_interval(self.correct, len(self.true))


def find_run(given: str) -> Path:
    """The folder of a finished run.

    Args:
        given: the folder, or the name of one in studies/*/runs/, for a recipe's run also the recipe's name.

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
    run = read_json(folder / RUN)
    if not run.get("finished") or not (folder / PREDICTIONS).exists():
        raise StudyError(
            "only finished runs can be compared",
            got=f"{folder}, which has not been trained to its end",
            remedy="Continue it with the python -m search.retrain command that began it",
        )
    try:
        table = pd.read_csv(folder / PREDICTIONS, dtype=str, keep_default_na=False)
        classes = tuple(column.removeprefix("p_") for column in table.columns[4:])
        return FinishedRun(
            name=name or folder.resolve().name,
            title=run["title"],
            folder=folder,
            true=tuple(table["true"]),
            predicted=tuple(table["predicted"]),
            classes=classes,
            parameters=run["parameters"],
            macs=run["macs"],
            seconds=math.fsum(epoch["seconds"] for epoch in run["history"]),
            epochs=len(run["history"]),
            train_images=run["train_images"],
            data=run["asked"].get("data", ""),
            source=run["source"],
        )
    except (KeyError, TypeError, AttributeError, ValueError, OSError) as error:
        raise StudyError(
            f"{folder} must hold the files of a finished run, as they were written",
            got=f"{type(error).__name__}: {error}",
            remedy="Retrain it",
        ) from None
