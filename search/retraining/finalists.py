"""Candidates compared over seeds: which of them is better, and whether the seeds can tell.

The choice is made on validation images alone; test accuracy is reported beside it. Runs of one seed share the training
and validation images and, where batches are equally large, the order of the data. So they are pairs, and every two
finalists get Student's paired t test (`cifar.stats.student`). The leader is found in the figures that it is then tested
by; therefore p-values are Holm's over all pairs, not over the leader's alone.

The spread is that of training seeds alone; it does not tell how far other validation images would move the figures.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

from cifar.networks.complexity import Cost
from cifar.stats.paired_tests import holm
from cifar.stats.student import PairedT, mean_interval, paired_t
from search.format import format_p_value, format_points, format_points_range
from search.retraining.comparison import LEVEL
from search.retraining.final_evaluation import Outcome
from search.retraining.run_record import RunRecord


@dataclass(frozen=True)
class Sample:
    """An accuracy over seeds."""

    values: tuple[float, ...]
    """Accuracies in [0, 1], one a seed."""

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values)

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the mean; None for one seed, or where all seeds gave the same."""
        found = mean_interval(self.values)
        return found and (max(0.0, found[0]), min(1.0, found[1]))

    @property
    def deviation(self) -> float | None:
        """Standard deviation over seeds; None for one seed."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Finalist:
    """A candidate and its runs, one a seed."""

    name: str
    """Name for people, such as `trial 7`."""
    seeds: tuple[int, ...]
    """Seeds of the runs, the same for all finalists."""
    folders: tuple[Path, ...]
    """Folders of the runs, by seed."""
    record: RunRecord
    """Record of the first run; images and source of the data are the same for all finalists."""
    validation: Sample | None
    """Accuracy on the validation images; None without them."""
    test: Sample
    """Accuracy on the test images; nothing is chosen by it."""
    epochs: tuple[float, ...]
    """Passes over the training images, by seed."""
    cost: Cost
    """Parameters and multiply-accumulates of the network."""
    seconds: float
    """Mean time of a run's training, validation included."""


@dataclass(frozen=True)
class FinalistPair:
    """Two finalists on the validation images."""

    better: Finalist
    """The finalist with the higher mean, or the earlier of equals."""
    other: Finalist
    """The finalist with the lower mean."""
    test: PairedT
    """Student's test of the differences by seed, better less other."""
    adjusted_p: float
    """The test's p-value after Holm's correction for all pairs of finalists."""

    @property
    def shown(self) -> bool:
        """Whether the seeds show a difference at the 5 % level, all pairs considered."""
        return self.adjusted_p < LEVEL


@dataclass(frozen=True)
class Finals:
    """Finalists side by side."""

    finalists: tuple[Finalist, ...]
    """Finalists, the highest mean validation accuracy first; in the order given without validation images."""
    pairs: tuple[FinalistPair, ...]
    """Every two finalists, the leader's pairs first; none with one seed or without validation images."""

    @property
    def leader(self) -> Finalist:
        """The first of the finalists."""
        return self.finalists[0]

    @property
    def leaders_pairs(self) -> tuple[FinalistPair, ...]:
        """The leader against each other finalist."""
        return tuple(pair for pair in self.pairs if pair.better is self.leader)

    @cached_property
    def verdict(self) -> str:
        """One sentence, no firmer than the data."""
        if len(self.finalists) == 1:
            return "one finalist: nothing to choose from"
        if len(self.leader.seeds) == 1:
            return "one seed each: no verdict; --seeds 3 or more gives one"
        if self.leader.validation is None:
            return "no validation images: no verdict, since the test images choose nothing"
        beaten = [self._named(pair) for pair in self.leaders_pairs if pair.shown]
        level = [self._named(pair) for pair in self.leaders_pairs if not pair.shown]
        clauses = [f"{self.leader.name} is better than {' and '.join(beaten)}"] if beaten else []
        if level:
            clauses.append(f"the seeds do not tell {self.leader.name} apart from {' and '.join(level)}")
        return "; ".join(clauses)

    def _named(self, pair: FinalistPair) -> str:
        return f"{pair.other.name} ({self._detail(pair)})"

    def _detail(self, pair: FinalistPair) -> str:
        """Difference, interval and p-value of a pair in words."""
        difference = f"difference {format_points(pair.test.difference)} points"
        if pair.test.interval is None:
            return f"{difference} at every seed, so no spread to test it by"
        interval = format_points_range(*pair.test.interval)
        holms = " after Holm" if len(self.pairs) > 1 else ""
        return f"{difference}, 95 % interval {interval}, {format_p_value(pair.adjusted_p)}{holms}"


def finalist(name: str, outcomes: Mapping[int, Outcome]) -> Finalist:
    """A finalist from its runs.

    Args:
        name: name of the candidate for people.
        outcomes: outcomes of its runs by seed; at least one.
    """
    runs = tuple(outcomes.values())
    validation = tuple(run.val_accuracy for run in runs if run.val_accuracy is not None)
    return Finalist(
        name=name,
        seeds=tuple(outcomes),
        folders=tuple(run.folder for run in runs),
        record=runs[0].record,
        validation=Sample(validation) if validation else None,
        test=Sample(tuple(run.test.accuracy for run in runs)),
        epochs=tuple(run.record.epochs for run in runs),
        cost=runs[0].cost,
        seconds=statistics.fmean(run.record.seconds for run in runs),
    )


def compare_finalists(finalists: Sequence[Finalist]) -> Finals:
    """Puts finalists of the same seeds and validation images side by side, best first."""
    order = sorted(finalists, key=lambda one: -one.validation.mean if one.validation else 0.0)
    if len(order[0].seeds) == 1 or order[0].validation is None:
        return Finals(tuple(order), ())
    couples = list(combinations(order, 2))
    tests = [_test(better, other) for better, other in couples]
    adjusted = holm([test.p for test in tests])
    pairs = [FinalistPair(*couple, test, p) for couple, test, p in zip(couples, tests, adjusted, strict=True)]
    return Finals(tuple(order), tuple(pairs))


def _test(better: Finalist, other: Finalist) -> PairedT:
    assert better.validation
    assert other.validation
    assert better.seeds == other.seeds
    pairs = zip(better.validation.values, other.validation.values, strict=True)
    images = better.record.val_images  # whole images, so that equal differences are equal in floating point too
    return paired_t([round((a - b) * images) / images for a, b in pairs])
