"""Searches of two objectives beside random search, TPE and NSGA-II: `python -m benchmarks.two_objectives --table FILE`.

On the recorded learning curves of `benchmarks.search_quality`, to which a size is added: a parameter s in [0, 1], for a
network of 10^4 to 10^6 parameters. A configuration's accuracy after e epochs is 1 / (1 + r + (1 - s)^2), where r is its
normalised regret after e epochs in the table, so that larger networks are more accurate, with diminishing returns. The
first hyperparameter, the learning rate, depends on the size: what a proposal names as x picks the configurations at
x^(2^(1 - 2s)). Every size can reach the best configuration of the table, so that the front is known.

All methods train the same number of epochs, counted in full trials, and are judged by their complete trials: by the
hypervolume over the logarithm of the parameters and the accuracy, above that of the table's median configuration in the
smallest network. Told is the share of the true front's hypervolume that is missing. Each search is written to `--out`;
a repetition runs what is missing.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import BaseTrial, TrialState

from benchmarks.resumable import append, is_done, read
from benchmarks.search_quality import Meter, Row, Table
from cifar.networks.complexity import Cost
from search.engine.driver import SearchRequest
from search.engine.engine import run_inline
from search.planning.planner import plan_without_images
from search.settings import SearchSettings
from search.study.attributes import OBJECTIVES
from search.study.fronts import Point, non_dominated
from spaces.base import EpochReport, Problem, SearchSpace, TrialContext

FULL_TRIALS = (8, 16, 32)
SEEDS = 20
SMALLEST, DECADES = 4, 2
"""The smallest size as a power of ten, and how many powers of ten there are above it."""
FLOOR = 1 / 3
"""Accuracy of the table's median configuration in the smallest network: less is worth nothing."""
OBJECTIVE = ("accuracy", "parameters")


@dataclass(frozen=True)
class Sized(Row):
    """A configuration of a table in a network of some size."""

    share: float = 1.0
    """The size, from 0 for the smallest to 1 for the largest."""

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form."""
        return {**super().to_dict(), "size": self.share}


class SizedSpace(SearchSpace):
    """A table as a search space in which the size is chosen too."""

    uses_images = False
    resumable = True

    def __init__(self, table: Table) -> None:
        self.table, self.max_epochs = table, table.epochs
        final = table.losses[:, -1]
        best, median = np.nanmin(final), np.nanmedian(final)
        self.regrets = np.maximum(0, (table.losses - best) / (median - best))  # (N, E), NaN where diverged

    def suggest(self, trial: BaseTrial) -> Sized:
        """The configuration nearest to the proposed point, in the proposed size."""
        share = trial.suggest_float("size", 0, 1)
        point = np.array([trial.suggest_float(str(name), 0, 1) for name in self.table.arrays["names"]])
        point[0] **= 2 ** (1 - 2 * share)
        return Sized(self.table.nearest(point), Cost(round(10 ** (SMALLEST + DECADES * share)), 0), share)

    def train(self, candidate: Sized, context: TrialContext) -> Iterator[EpochReport]:
        """The accuracies after each epoch."""
        for epoch in range(context.epochs_done + 1, context.fidelity + 1):
            yield EpochReport(epoch, self.accuracy(candidate, epoch))

    def accuracy(self, candidate: Sized, epoch: int) -> float:
        """Of a candidate after some epochs; NaN where it has diverged."""
        return float(1 / (1 + self.regrets[candidate.index, epoch - 1] + (1 - candidate.share) ** 2))


def hypervolume(points: Sequence[Point]) -> float:
    """The area that networks dominate above `FLOOR` and below the largest size, sizes as shares of their decades."""
    front = [point for point in (points[i] for i in non_dominated(points)) if point.value > FLOOR]
    shares = [(math.log10(point.cost) - SMALLEST) / DECADES for point in front]
    ends = [*shares[1:], 1.0]
    return sum((end - share) * (p.value - FLOOR) for p, share, end in zip(front, shares, ends, strict=True))


TRUE_HYPERVOLUME = math.pi / 4 - FLOOR
"""Of the front 1 / (1 + (1 - s)^2), s from 0 to 1."""


def engine(sampler: str) -> Callable[[Table, int, int], optuna.Study]:
    """The engine as `search.run --objective accuracy,parameters --epoch-budget` runs it, its storage in memory."""

    def run(table: Table, full_trials: int, seed: int) -> optuna.Study:
        epochs = full_trials * table.epochs
        settings = SearchSettings(
            space=table.name, seed=seed, epoch_budget=epochs, objective=OBJECTIVE, sampler=sampler
        )
        space = SizedSpace(table)
        study = optuna.create_study(directions=["maximize", "minimize"])
        study.set_user_attr(OBJECTIVES, list(OBJECTIVE))
        spent = Meter()
        plan = plan_without_images(settings, space)
        run_inline(study, space, SearchRequest(settings, plan, Problem(), time.monotonic, max_epochs=epochs), spent)
        assert spent.epochs <= epochs, "the engine trained more than it was given"
        return study

    return run


def plain_optuna(sampler: Callable[[int], BaseSampler]) -> Callable[[Table, int, int], optuna.Study]:
    """Optuna's own searches of two objectives, which train every trial in full: it does not prune there."""

    def run(table: Table, full_trials: int, seed: int) -> optuna.Study:
        space = SizedSpace(table)
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler(seed))
        left = full_trials * table.epochs
        while left > 0:
            trial = study.ask()
            candidate = space.suggest(trial)
            accuracies = [space.accuracy(candidate, epoch) for epoch in range(1, table.epochs + 1)]
            reached = next((i + 1 for i, value in enumerate(accuracies) if math.isnan(value)), table.epochs)
            left -= reached
            if left < 0 or math.isnan(accuracies[reached - 1]):
                study.tell(trial, state=TrialState.FAIL)
            else:
                assert candidate.cost is not None
                study.tell(trial, [accuracies[-1], candidate.cost.parameters])
        return study

    return run


METHODS: dict[str, Callable[[Table, int, int], optuna.Study]] = {
    "engine": engine("tpe"),
    "engine, random proposals": engine("random"),
    "random search": plain_optuna(lambda seed: RandomSampler(seed)),
    "TPE": plain_optuna(lambda seed: TPESampler(seed=seed)),
    "NSGA-II": plain_optuna(lambda seed: NSGAIISampler(seed=seed)),
}


def missing(path: Path, method: str, full_trials: int, seed: int) -> dict[str, Any]:
    """One search, as a line of the results."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    study = METHODS[method](Table(path), full_trials, seed)
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    found = hypervolume([Point(trial.values[1], trial.values[0]) for trial in complete])
    return {
        "table": Table(path).name,
        "method": method,
        "full_trials": full_trials,
        "seed": seed,
        "missing": round(1 - found / TRUE_HYPERVOLUME, 5),
        "complete": len(complete),
    }


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Mean share that is missing and its standard error, a table for each of the recorded ones."""
    lines: list[str] = []
    columns = sorted({row["full_trials"] for row in rows})
    for table in dict.fromkeys(row["table"] for row in rows):
        lines += [f"**{table}**", "", f"| full trials | {' | '.join(map(str, columns))} |"]
        lines.append("|---" * (len(columns) + 1) + "|")
        for method in METHODS:
            cells = [
                [r["missing"] for r in rows if (r["table"], r["method"], r["full_trials"]) == (table, method, column)]
                for column in columns
            ]
            lines.append(f"| {method} | {' | '.join(map(_shown, cells))} |")
        lines.append("")
    return "\n".join(lines)


def _shown(found: Sequence[float]) -> str:
    if len(found) < 2:
        return ""
    return f"{statistics.fmean(found):.3f} ± {statistics.stdev(found) / math.sqrt(len(found)):.3f}"


def main() -> int:
    """Runs what is missing, prints Markdown tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.two_objectives", description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, action="append", required=True, help="recorded curves; repeatable")
    parser.add_argument("--full-trials", type=int, nargs="+", default=FULL_TRIALS, help="worth of training in all")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="which to run")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="searches a cell")
    parser.add_argument("--jobs", type=int, help="processes (default: one a core)")
    parser.add_argument("--out", type=Path, required=True, help="results, one JSON object a line; read and appended to")
    args = parser.parse_args()
    done = read(args.out)
    wanted = [
        (path, method, full_trials, seed)
        for seed in range(args.seeds)
        for full_trials in args.full_trials
        for path in args.table
        for method in args.methods
        if not is_done(
            done,
            {"table": Table(path).name, "method": method, "full_trials": full_trials, "seed": seed},
        )
    ]
    with ProcessPoolExecutor(args.jobs) as pool:
        for finished in as_completed([pool.submit(missing, *search) for search in wanted]):
            append(args.out, finished.result())
            print(finished.result(), file=sys.stderr, flush=True)
    print(markdown(read(args.out)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
