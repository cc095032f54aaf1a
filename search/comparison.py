"""Finished runs side by side: accuracies, paired tests, costs.

All runs predicted the same test images, so each comparison is paired: what counts are the images that one run got
right and the other wrong. McNemar's test (Psychometrika 12, 1947) asks whether these fall to either side equally
often; below 25 of them by the exact binomial distribution, else by chi-square with the continuity correction of
Edwards (Psychometrika 13, 1948). The interval of a difference is that of Agresti and Min (Statistics in Medicine 24,
2005): Wald's after half an image is added to each cell. With more than two runs, each is compared with the first one
given, and p-values are Holm's (Scandinavian Journal of Statistics 6, 1979).

Both compare two *trained networks*: how far another training seed would move them, one run of each cannot tell
(Dietterich, Neural Computation 10, 1998).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pandas as pd

from cifar import checkpoint
from cifar.candidate import Candidate
from cifar.evaluate import CONFIDENCE, wilson_interval
from search.settings import STUDIES_FOLDER, StudyError

RUN = "run.json"
PREDICTIONS = "test_predictions.csv"
EXACT_BELOW = 25
"""Discordant images below which McNemar's test is exact."""
LEVEL = 1 - CONFIDENCE
"""Of significance."""


# ---- arithmetic


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of two paired proportions."""

    only_first: int
    """Images that only the first run got right."""
    only_second: int
    """Images that only the second run got right."""
    p: float
    """Two-sided p-value."""
    statistic: float | None
    """Chi-square with one degree of freedom; None where the test is exact."""

    @property
    def method(self) -> str:
        """How p was computed."""
        return "exact binomial" if self.statistic is None else "chi-square, continuity-corrected"


def mcnemar(only_first: int, only_second: int) -> McNemar:
    """McNemar's test; see the top of this file.

    Args:
        only_first: pairs in which only the first is right, 0 or more.
        only_second: pairs in which only the second is.
    """
    discordant = only_first + only_second
    if discordant < EXACT_BELOW:
        tail = sum(math.comb(discordant, k) for k in range(min(only_first, only_second) + 1))
        return McNemar(only_first, only_second, min(1.0, 2 * tail / 2**discordant), None)
    statistic = max(0, abs(only_first - only_second) - 1) ** 2 / discordant
    return McNemar(only_first, only_second, math.erfc(math.sqrt(statistic / 2)), statistic)


def paired_interval(
    only_first: int, only_second: int, total: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Interval of the second proportion less the first, by Agresti and Min; (-1, 1) without images.

    Args:
        only_first: pairs in which only the first is right.
        only_second: pairs in which only the second is.
        total: all pairs.
        confidence: in (0, 1).
    """
    if total == 0:
        return -1.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    difference = (only_second - only_first) / (total + 2)
    spread = z * math.sqrt(only_first + only_second + 1 - (only_second - only_first) ** 2 / (total + 2)) / (total + 2)
    return max(-1.0, difference - spread), min(1.0, difference + spread)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: each at most the level if its hypothesis is rejected at it."""
    adjusted, greatest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        greatest = max(greatest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = greatest
    return adjusted


# ---- runs


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
    run = checkpoint.read_json(folder / RUN)
    if not run.get("finished") or not (folder / PREDICTIONS).exists():
        raise StudyError(
            "only finished runs can be compared",
            got=f"{folder}, which has not been trained to its end",
            remedy="Continue it with the python -m search.retrain command that began it",
        )
    try:
        table = pd.read_csv(folder / PREDICTIONS, dtype=str, keep_default_na=False)
        classes = tuple(column.removeprefix("p_") for column in table.columns[4:])
        cost = _cost(run, folder)
        return FinishedRun(
            name=name or folder.resolve().name,
            title=run["title"],
            folder=folder,
            true=tuple(table["true"]),
            predicted=tuple(table["predicted"]),
            classes=classes,
            parameters=cost["parameters"],
            macs=cost["macs"],
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


def _cost(run: Mapping[str, Any], folder: Path) -> dict[str, int]:
    if "parameters" in run and "macs" in run:
        return {"parameters": run["parameters"], "macs": run["macs"]}
    path = folder / checkpoint.CANDIDATE  # a run of an earlier version
    cost = Candidate.from_dict(checkpoint.read_json(path), where=str(path)).cost
    return {"parameters": cost.parameters, "macs": cost.macs}


# ---- comparison


@dataclass(frozen=True)
class ClassDifference:
    """Accuracy of two runs on the images of one class."""

    name: str
    """Of the class."""
    images: int
    """Of the class."""
    first: float
    """Accuracy of the first run, in [0, 1]."""
    second: float
    """Accuracy of the second."""
    low: float
    """Lower end of the 95 % interval of second - first."""
    high: float
    """Upper end of it."""

    @property
    def difference(self) -> float:
        """Second less first."""
        return self.second - self.first


@dataclass(frozen=True)
class Pair:
    """A run against the first one."""

    first: FinishedRun
    """What is compared with."""
    second: FinishedRun
    """What is compared."""
    test: McNemar
    """Over all test images."""
    adjusted_p: float
    """After Holm, over all pairs of the comparison."""
    low: float
    """Lower end of the 95 % interval of the difference of accuracies, second - first; of this pair alone."""
    high: float
    """Upper end of it."""
    classes: tuple[ClassDifference, ...]
    """By class."""

    @property
    def difference(self) -> float:
        """Accuracy of the second less that of the first."""
        return self.second.accuracy - self.first.accuracy

    @property
    def significant(self) -> bool:
        """Whether the test shows a difference at the 5 % level, all pairs considered."""
        return self.adjusted_p < LEVEL

    @property
    def verdict(self) -> str:
        """In words, no firmer than the data."""
        if not self.significant:
            return "no difference shown at this sample size"
        return f"{'more' if self.difference > 0 else 'less'} accurate"


@dataclass(frozen=True)
class Comparison:
    """Runs side by side."""

    runs: tuple[FinishedRun, ...]
    """In the order given."""
    pairs: tuple[Pair, ...]
    """Each other run against the first."""


def compare(runs: Sequence[FinishedRun]) -> Comparison:
    """Compares each run with the first.

    Raises:
        StudyError: fewer than two runs, a run twice, or runs evaluated on different data.
    """
    _require_comparable(runs)
    first, *others = runs
    tests = [_test(first, other) for other in others]
    adjusted = holm([test.p for test in tests])
    pairs = [_pair(first, other, test, p) for other, test, p in zip(others, tests, adjusted, strict=True)]
    return Comparison(tuple(runs), tuple(pairs))


def _test(first: FinishedRun, second: FinishedRun) -> McNemar:
    pairs = Counter(zip(first.right, second.right, strict=True))
    return mcnemar(pairs[True, False], pairs[False, True])


def _require_comparable(runs: Sequence[FinishedRun]) -> None:
    if len(runs) < 2:
        raise StudyError(
            "a comparison needs at least two runs",
            got=", ".join(run.name for run in runs) or "none",
            remedy="Give their folders or names: --compare A B",
        )
    folders = [run.folder.resolve() for run in runs]
    for run, folder in zip(runs, folders, strict=True):
        if folders.count(folder) > 1:
            raise StudyError("a comparison needs different runs", got=f"{run.folder} twice", remedy="Give it once")
    first = runs[0]
    for other in runs[1:]:
        if (first.classes, first.true) != (other.classes, other.true) or (
            first.data and other.data and first.data != other.data
        ):
            raise StudyError(
                "compared runs must have been evaluated on the same images",
                got=f"{first.name} ({len(first.true):,} images of {first.source}) and "
                f"{other.name} ({len(other.true):,} images of {other.source})",
                remedy="Retrain one of them with the other's --data",
            )


def _agreement(first: FinishedRun, second: FinishedRun) -> Counter[tuple[str, bool, bool]]:
    """Images by true class, whether the first run is right, whether the second is."""
    return Counter(zip(first.true, first.right, second.right, strict=True))


def _pair(first: FinishedRun, second: FinishedRun, test: McNemar, adjusted_p: float) -> Pair:
    low, high = paired_interval(test.only_first, test.only_second, len(first.true))
    counts = _agreement(first, second)
    classes = tuple(_class_difference(name, counts) for name in dict.fromkeys(first.classes))
    return Pair(first, second, test, adjusted_p, low, high, classes)


def _class_difference(name: str, counts: Mapping[tuple[str, bool, bool], int]) -> ClassDifference:
    both, only_first, only_second, neither = (
        counts[name, *right] for right in ((True, True), (True, False), (False, True), (False, False))
    )
    images = both + only_first + only_second + neither
    low, high = paired_interval(only_first, only_second, images)
    return ClassDifference(
        name, images, (both + only_first) / max(1, images), (both + only_second) / max(1, images), low, high
    )


# ---- words

CAVEAT = (
    "A verdict is about these trained networks on images like these. Another training seed would move every one of "
    "them; how far, one run of each cannot tell."
)


def letter(index: int) -> str:
    """Short name of the run at this place: A, B, ... Z, 27, 28, ..."""
    return chr(ord("A") + index) if index < 26 else str(index + 1)


def p_words(p: float) -> str:
    """Such as `p = 0.031`, or `p < 0.0001`."""
    if p < 1e-4:
        return "p < 0.0001"
    return f"p = {p:.4f}" if p < 0.01 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def points(difference: float, digits: int = 2) -> str:
    """A difference of two shares in percentage points, with its sign; nothing is -0."""
    return f"{round(100 * difference, digits) + 0.0:+.{digits}f}"


# ---- files


def write_comparison(folder: Path, comparison: Comparison) -> list[Path]:
    """Writes runs.csv, pairs.csv, per_class.csv and comparison.html; returns their paths."""
    from search.compare_page import write_compare_page

    tables = {"runs.csv": _runs(comparison), "pairs.csv": _pairs(comparison), "per_class.csv": _per_class(comparison)}
    for name, rows in tables.items():
        checkpoint.write_text(folder / name, pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))
    write_compare_page(folder / "comparison.html", comparison)
    return [folder / name for name in (*tables, "comparison.html")]


def _runs(comparison: Comparison) -> list[dict[str, object]]:
    return [
        {
            "run": run.name,
            "title": run.title,
            "folder": str(run.folder),
            "images": len(run.true),
            "accuracy": run.accuracy,
            "low": run.interval[0],
            "high": run.interval[1],
            "parameters": run.parameters,
            "macs": run.macs,
            "training_seconds": run.seconds,
            "epochs": run.epochs,
            "training_images": run.train_images,
        }
        for run in comparison.runs
    ]


def _pairs(comparison: Comparison) -> list[dict[str, object]]:
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


def _per_class(comparison: Comparison) -> list[dict[str, object]]:
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
