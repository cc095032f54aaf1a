"""How good the search engine's choice is for little training: `python -m benchmarks.search_quality --table FILE.npz`.

On recorded learning curves: N configurations, each with its validation loss after epochs 1..E, lower is better, NaN
where it diverged. The engine searches them as users' trainings are searched, through `SearchSpace`; beside it run
random search and Optuna's TPE in full length, and both with Optuna's HyperbandPruner. Each is given the same number of
epochs, counted in full trials of E epochs, and recommends one configuration. Its normalised regret is
(loss_E(recommended) - min) / (median - min) over the table's final losses; a diverged recommendation counts as 1.5.
Epochs of a configuration that a method has trained before cost nothing, for any method. `--out FILE` keeps each run's
result as it comes, and a repetition does what is missing.

A table may cap the size of networks: with arrays `parameters` (N,) and `param_budget` (), configurations above the
cap are infeasible: they cost no method anything, and none may recommend them.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from optuna.pruners import BasePruner, HyperbandPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import BaseTrial, TrialState

from benchmarks.resumable import append, read
from cifar.networks.complexity import Cost
from search.engine.driver import SearchRequest
from search.engine.engine import run_inline
from search.engine.scheduler import MOST_REPEATED_SHARE, MOST_REPEATS
from search.planning.planner import plan_without_images
from search.settings import SearchSettings
from search.study.leases import Lease
from search.study.recovery import recover_stale_trials
from search.study.trials import ranked
from spaces.base import EpochReport, OwnCandidate, Problem, SearchSpace, TrialContext

BUDGETS = (4, 8, 16, 32, 64)  # in full trials
MANY_SEEDS = 100  # up to `MANY_UP_TO`
MANY_UP_TO = 16
FEW_SEEDS = 30
DIVERGED_REGRET = 1.5
METHODS = ("engine", "random", "tpe", "tpe_hyperband", "random_hyperband")


@dataclass(frozen=True)
class Table:
    """Recorded learning curves."""

    path: Path
    """An .npz file with `hyperparameters` (N, D), `names` (D,) and `valid_loss` (N, E)."""

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.path.stem

    @cached_property
    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """The file's arrays."""
        with np.load(self.path) as file:
            return {name: file[name] for name in file.files}

    @cached_property
    def losses(self) -> np.ndarray[Any, Any]:
        """Loss after each epoch, float64 (N, E)."""
        return self.arrays["valid_loss"].astype(float)

    @property
    def epochs(self) -> int:
        """Length of a full trial."""
        return int(self.losses.shape[1])

    @cached_property
    def coordinates(self) -> np.ndarray[Any, Any]:
        """Hyperparameters in log10, scaled to [0, 1], (N, D); of a beta its distance from 1."""
        values: np.ndarray[Any, Any] = self.arrays["hyperparameters"].astype(float).copy()
        for column, name in enumerate(self.arrays["names"]):
            if str(name).startswith("beta"):
                values[:, column] = 1 - values[:, column]
        logs = np.log10(values)
        low, high = logs.min(axis=0), logs.max(axis=0)
        scaled: np.ndarray[Any, Any] = (logs - low) / np.where(high > low, high - low, 1)
        return scaled

    @cached_property
    def feasible(self) -> np.ndarray[Any, Any]:
        """Whether each configuration keeps the cap, bool (N,)."""
        if "param_budget" not in self.arrays:
            return np.ones(len(self.losses), dtype=bool)
        return self.arrays["parameters"] <= self.arrays["param_budget"]

    def nearest(self, point: np.ndarray[Any, Any]) -> int:
        """The configuration nearest to a point of [0, 1]^D."""
        return int(((self.coordinates - point) ** 2).sum(axis=1).argmin())

    def regret(self, row: int | None) -> float:
        """Normalised regret of recommending a configuration; None is no recommendation."""
        final = self.losses[self.feasible, -1]
        best, median = np.nanmin(final), np.nanmedian(final)
        loss = math.nan if row is None else self.losses[row, -1]
        return float((loss - best) / (median - best)) if math.isfinite(loss) else DIVERGED_REGRET


@dataclass(frozen=True)
class Row(OwnCandidate):
    """A configuration of a table."""

    index: int
    cost: Cost | None
    """Its size, where the table knows it."""

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form."""
        return {"row": self.index}


class TableSpace(SearchSpace):
    """A table as a search space: one number in [0, 1] a hyperparameter, and the configuration nearest to them."""

    direction = "minimize"
    uses_images = False
    resumable = True

    def __init__(self, table: Table) -> None:
        self.table = table
        self.max_epochs = table.epochs
        if "param_budget" in table.arrays:
            self.param_budget = int(table.arrays["param_budget"])

    def suggest(self, trial: BaseTrial) -> Row:
        """The configuration nearest to the proposed point."""
        names = (str(name) for name in self.table.arrays["names"])
        index = self.table.nearest(np.array([trial.suggest_float(name, 0, 1) for name in names]))
        sizes = self.table.arrays.get("parameters")
        return Row(index, None if sizes is None else Cost(int(sizes[index]), 0))

    def train(self, candidate: Row, context: TrialContext) -> Iterator[EpochReport]:
        """The recorded losses."""
        for epoch in range(context.epochs_done + 1, context.fidelity + 1):
            yield EpochReport(epoch, float(self.table.losses[candidate.index, epoch - 1]))


def engine(table: Table, budget: int, seed: int) -> int | None:
    """The engine as `search.run --epoch-budget` runs it, its storage in memory."""
    settings = SearchSettings(space=table.name, seed=seed, epoch_budget=budget * table.epochs)
    space = TableSpace(table)
    plan = plan_without_images(settings, space)
    study = optuna.create_study(direction="minimize")
    request = SearchRequest(settings, plan, Problem(), time.monotonic, max_epochs=budget * table.epochs)
    spent = Meter()
    run_inline(study, space, request, spent)
    assert spent.epochs <= budget * table.epochs, "the engine trained more than it was given"
    best = ranked_or_paused(study)
    return None if best is None else int(best.user_attrs["candidate"]["row"])


class Meter:
    """Counts the epochs that trials report."""

    def __init__(self) -> None:
        self.epochs = 0

    def __call__(self, event: object) -> None:
        """Takes an event."""
        self.epochs += type(event).__name__ == "EpochDone"


def ranked_or_paused(study: optuna.Study) -> optuna.trial.FrozenTrial | None:
    """The trial that a closed study would rank first."""
    recover_stale_trials(study, Lease(study, Path()), close_paused=True)
    return next(iter(ranked(study)), None)


def plain_optuna(
    sampler: Callable[[int], BaseSampler], hyperband: bool, *, by_row: bool
) -> Callable[[Table, int, int], int | None]:
    """A baseline: ask, report each epoch, prune, tell, until the epochs are spent."""

    def run(table: Table, budget: int, seed: int) -> int | None:
        pruner: BasePruner = HyperbandPruner(1, table.epochs, 3) if hyperband else NopPruner()
        study = optuna.create_study(direction="minimize", sampler=sampler(seed), pruner=pruner)
        rows = np.random.default_rng(seed)
        left, row_of, reached = budget * table.epochs, {}, {}
        trained: Counter[int] = Counter()  # epochs, by row
        repeats: list[bool] = []  # whether each of the last trials only repeated what was trained
        while left > 0 and sum(repeats) < MOST_REPEATED_SHARE * MOST_REPEATS:  # as our scheduler ends new trials
            trial = study.ask()
            row = int(rows.integers(len(table.losses))) if by_row else TableSpace(table).suggest(trial).index
            if not table.feasible[row]:
                study.tell(trial, state=TrialState.FAIL)
                continue
            row_of[trial.number], state, before = row, TrialState.COMPLETE, left
            for epoch in range(1, table.epochs + 1):
                if epoch > trained[row]:
                    if left == 0:
                        state = TrialState.PRUNED
                        break
                    left, trained[row] = left - 1, epoch
                loss = table.losses[row, epoch - 1]
                if not math.isfinite(loss):
                    state = TrialState.PRUNED
                    break
                trial.report(loss, epoch)
                reached[trial.number] = (-epoch, loss)
                if epoch < table.epochs and trial.should_prune():
                    state = TrialState.PRUNED
                    break
            study.tell(trial, loss if state is TrialState.COMPLETE else None, state=state)
            repeats = [*repeats, left == before][-MOST_REPEATS:]
        return row_of[min(reached, key=lambda number: reached[number])] if reached else None

    return run


RUN: dict[str, Callable[[Table, int, int], int | None]] = {
    "engine": engine,
    "random": plain_optuna(lambda seed: RandomSampler(seed), False, by_row=True),
    "tpe": plain_optuna(lambda seed: TPESampler(seed=seed), False, by_row=False),
    "tpe_hyperband": plain_optuna(lambda seed: TPESampler(seed=seed), True, by_row=False),
    "random_hyperband": plain_optuna(lambda seed: RandomSampler(seed), True, by_row=True),
}


Run = tuple[Path, str, int, int]
"""A table, a method, full trials and a seed."""


def regret(run: Run) -> float:
    """Normalised regret of what one run of a method recommends."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)
    path, method, budget, seed = run
    table = Table(path)
    row = RUN[method](table, budget, seed)
    assert row is None or table.feasible[row], "an infeasible configuration was recommended"
    return table.regret(row)


def regrets(runs: Sequence[Run], jobs: int | None, out: Path | None) -> dict[Run, float]:
    """The regret of each run; those that the file `out` has are not done again, the others are added to it."""
    keys = {run: {"table": Table(run[0]).name, "method": run[1], "full_trials": run[2], "seed": run[3]} for run in runs}
    held = {tuple(list(row.values())[:-1]): row["regret"] for row in (read(out) if out else [])}
    found = {run: held[tuple(key.values())] for run, key in keys.items() if tuple(key.values()) in held}
    with ProcessPoolExecutor(jobs) as pool:
        pending = {pool.submit(regret, run): run for run in runs if run not in found}
        for future in as_completed(pending):
            run = pending[future]
            found[run] = future.result()
            if out:
                append(out, {**keys[run], "regret": round(found[run], 6)})
            print(f"{len(found)} of {len(runs)}", end="\r", file=sys.stderr, flush=True)
    return found


def seeds_of(budget: int, seeds: int | None) -> int:
    """How many seeds a budget is run with."""
    return seeds or (MANY_SEEDS if budget <= MANY_UP_TO else FEW_SEEDS)


def main() -> int:
    """Runs all methods on all tables, prints Markdown tables or JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_quality", description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, action="append", required=True, help="recorded curves; repeatable")
    parser.add_argument(
        "--seeds", type=int, help=f"(default: {MANY_SEEDS} up to {MANY_UP_TO} full trials, {FEW_SEEDS} above)"
    )
    parser.add_argument("--budgets", default=",".join(map(str, BUDGETS)), help="in full trials, such as 4,8,16")
    parser.add_argument("--methods", default=",".join(METHODS), help="which to run")
    parser.add_argument("--jobs", type=int, help="processes (default: one a core)")
    parser.add_argument("--out", type=Path, help="file of results, one a line; delete what has to be done again")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    budgets, methods = [int(part) for part in args.budgets.split(",")], args.methods.split(",")
    cells = [(path, method, budget) for path in args.table for method in methods for budget in budgets]
    runs = [(*cell, seed) for cell in cells for seed in range(seeds_of(cell[2], args.seeds))]
    found = regrets(runs, args.jobs, args.out)
    result: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for path, method, budget in cells:
        values = [found[path, method, budget, seed] for seed in range(seeds_of(budget, args.seeds))]
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        cell = {"mean": statistics.fmean(values), "stderr": error, "seeds": len(values)}
        result.setdefault(Table(path).name, {}).setdefault(method, {})[str(budget)] = cell
    print(json.dumps({"tables": result}, indent=2) if args.json else markdown(result))
    return 0


def markdown(result: dict[str, dict[str, dict[str, dict[str, float]]]]) -> str:
    """Mean regret and standard error, and the engine's mean as a multiple of random search's."""
    lines: list[str] = []
    for table, methods in result.items():
        budgets = list(next(iter(methods.values())))
        lines += [f"**{table}**", "", f"| full trials | {' | '.join(budgets)} |", "|---" * (len(budgets) + 1) + "|"]
        for method, cells in methods.items():
            shown = (f"{cells[b]['mean']:.3f} ± {cells[b]['stderr']:.3f}" for b in budgets)
            lines.append(f"| {method} | {' | '.join(shown)} |")
        if {"engine", "random"} <= methods.keys():
            ratios = (f"{methods['engine'][b]['mean'] / methods['random'][b]['mean']:.2f}x" for b in budgets)
            lines.append(f"| engine / random | {' | '.join(ratios)} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
