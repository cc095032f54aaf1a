"""Finished runs side by side: accuracies, paired tests, costs.

All runs predicted the same test images, so each comparison is paired (`cifar.stats.paired_tests`). With more than two
runs, each is compared with the first one given, and p-values are Holm's.

The test and the intervals compare two *trained networks*: how far another training seed would move them, one run of
each cannot tell (Dietterich, Neural Computation 10, 1998).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cifar.stats.intervals import CONFIDENCE
from cifar.stats.paired_tests import McNemar, holm, mcnemar, paired_interval
from search.retraining.finished_run import FinishedRun
from search.settings import StudyError

LEVEL = 1 - CONFIDENCE
"""Level of significance."""


@dataclass(frozen=True)
class ClassDifference:
    """Accuracy of two runs on the images of one class."""

    name: str
    """Name of the class."""
    images: int
    """Images of the class."""
    first: float
    """Accuracy of the first run, in [0, 1]."""
    second: float
    """Accuracy of the second run, in [0, 1]."""
    low: float
    """Lower end of the 95 % interval of the difference."""
    high: float
    """Upper end of the 95 % interval of the difference."""

    @property
    def difference(self) -> float:
        """Accuracy of the second run less that of the first."""
        return self.second - self.first


@dataclass(frozen=True)
class Pair:
    """A run against the first one."""

    first: FinishedRun
    """The run that the other is compared with."""
    second: FinishedRun
    """The other run."""
    test: McNemar
    """McNemar's test over all test images."""
    adjusted_p: float
    """The test's p-value after Holm's correction for all pairs of the comparison."""
    low: float
    """Lower end of the 95 % interval of the difference, for this pair alone."""
    high: float
    """Upper end of the 95 % interval of the difference, for this pair alone."""
    classes: tuple[ClassDifference, ...]
    """Differences class by class."""

    @property
    def difference(self) -> float:
        """Accuracy of the second run less that of the first."""
        return self.second.accuracy - self.first.accuracy

    @property
    def significant(self) -> bool:
        """Whether the test shows a difference at the 5 % level, all pairs considered."""
        return self.adjusted_p < LEVEL

    @property
    def verdict(self) -> str:
        """The result in words, no firmer than the data."""
        if not self.significant:
            return "no difference shown at this sample size"
        return f"{'more' if self.difference > 0 else 'less'} accurate"


@dataclass(frozen=True)
class Comparison:
    """Runs side by side."""

    runs: tuple[FinishedRun, ...]
    """The runs in the order given."""
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
        if not _same_images(first, other):
            raise StudyError(
                "compared runs must have been evaluated on the same images",
                got=f"{first.name} ({len(first.true):,} images of {first.record.source}) and "
                f"{other.name} ({len(other.true):,} images of {other.record.source})",
                remedy="Retrain one of them with the other's --data",
            )


def _same_images(first: FinishedRun, second: FinishedRun) -> bool:
    """Whether classes, labels and, where both runs tell it, the data are the same."""
    data = {run.record.identity.data for run in (first, second)} - {""}
    return (first.classes, first.true) == (second.classes, second.true) and len(data) <= 1


def _right_counts(first: FinishedRun, second: FinishedRun) -> Counter[tuple[str, bool, bool]]:
    """Images by true class, whether the first run is right, whether the second is."""
    return Counter(zip(first.true, first.right, second.right, strict=True))


def _pair(first: FinishedRun, second: FinishedRun, test: McNemar, adjusted_p: float) -> Pair:
    low, high = paired_interval(test.only_first, test.only_second, len(first.true))
    counts = _right_counts(first, second)
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
