"""Finished runs side by side: accuracies, paired tests, costs.

All runs predicted the same test images, so each comparison is paired (`cifar.stats.paired_tests`). With more than two
runs, each is compared with the first one given, and p-values are Holm's.

Both compare two *trained networks*: how far another training seed would move them, one run of each cannot tell
(Dietterich, Neural Computation 10, 1998).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cifar.files import write_text
from cifar.stats.intervals import CONFIDENCE
from cifar.stats.paired_tests import McNemar, holm, mcnemar, paired_interval
from search.retraining.finished_run import FinishedRun
from search.settings import StudyError

LEVEL = 1 - CONFIDENCE
"""Of significance."""


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
    from search.reporting.pages.comparison_page import write_compare_page

    tables = {"runs.csv": _runs(comparison), "pairs.csv": _pairs(comparison), "per_class.csv": _per_class(comparison)}
    for name, rows in tables.items():
        write_text(folder / name, pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))
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
