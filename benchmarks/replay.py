"""What each part of the engine is worth on recorded curves of the real space: `python -m benchmarks.replay FILE.npz`.

Searches what `benchmarks.record_curves` recorded, in simulated time, with the recorded seconds of each epoch: the
engine as it is, with one part changed at a time, and the usual alternatives. All are given the same seconds of training
in all, counted in mean full trials and divided among the workers, and the default as their first trial. All get repeats
for nothing, since the record is small. Told is the regret: by how many points of validation accuracy the recommended
candidate is worse than the best recorded one.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.samplers import RandomSampler

from benchmarks.record_curves import EPOCHS, TRAIN_SIZE, space_of
from benchmarks.recorded import SCHEMES, Curves, RecordedSpace
from benchmarks.search_quality import ranked_or_paused
from benchmarks.simulation import Clock, Simulation
from search.engine.driver import Driver, SearchRequest
from search.engine.promotion import Decision, Done, Promote, Start, Status, TrialView, Wait
from search.engine.samplers import FreshSampler
from search.planning.planner import plan_without_images
from search.settings import NO_PRIOR, SearchSettings
from search.study.attributes import BASELINE, PRIOR
from spaces.base import Problem

FULL_TRIALS = (4, 8, 16)
WORKERS = (1, 4, 16)
SEEDS = 30


@dataclass(frozen=True)
class Method:
    """A way to search."""

    changes: dict[str, Any] = field(default_factory=dict)
    """Settings that differ from the engine's."""
    scheme: str = SCHEMES[0]
    """Rung scheme."""
    prior: bool = True
    """Whether proposals use the space's prior."""
    model: bool = True
    """Whether the sampler learns; otherwise its share is drawn anywhere."""
    asha: bool = False
    """Whether promotion is ASHA's."""


METHODS = {
    "engine": Method(),
    "schedules stretched over R": Method(scheme="stretched"),
    "without the prior": Method(prior=False),
    "without the model": Method(model=False),
    "random proposals": Method({"sampler": "random"}),
    "ASHA that resumes": Method(asha=True),
    "hyperband": Method({"pruner": "hyperband"}),
    "TPE, full trials": Method({"pruner": "none"}, prior=False),
    "random search, full trials": Method({"sampler": "random", "pruner": "none"}),
}


@dataclass(frozen=True)
class Asha:
    """Asynchronous successive halving that resumes (arXiv 1810.05934, algorithm 2), in the place of our policy.

    A free worker promotes a trial that is among the best one in eta of all that reached its rung; the highest rung
    first. Where there is none, it starts a new one.
    """

    rungs: Sequence[int]
    eta: int

    def decide(
        self, trials: Sequence[TrialView], epochs_left: float, trials_left: float, mean_cost: float = 1.0
    ) -> Decision:
        """See `search.engine.promotion.Promotion.decide`."""
        for low, high in reversed(list(zip(self.rungs, self.rungs[1:], strict=False))):
            reached = sorted((t for t in trials if low in t.losses), key=lambda t: (t.losses[low], t.number))
            for trial in reached[: len(reached) // self.eta]:
                affordable = (trial.cost or mean_cost) * (high - low) <= epochs_left * mean_cost
                if trial.status is Status.PAUSED and trial.epochs == low and affordable:
                    return Promote(trial.number, high)
        if epochs_left >= self.rungs[0] and trials_left >= 1:
            return Start(self.rungs[0])
        return Wait() if any(t.status is Status.RUNNING for t in trials) else Done()

    def spare(self, trials: Sequence[TrialView], epochs: float, mean_cost: float = 1.0) -> Promote | None:
        """A worker without work has none: the algorithm promotes no more than is due."""
        return None


@dataclass(frozen=True)
class Run:
    """One simulated search."""

    path: Path
    """The recorded curves."""
    method: str
    """Name of the method."""
    full_trials: int
    """Mean full trials' seconds of training, over all workers."""
    workers: int
    """Workers side by side."""
    seed: int
    """Seed of the proposals."""


def regret(run: Run) -> float:
    """Regret of what a search recommends, in points of accuracy in [0, 1]."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(1)
    method, curves = METHODS[run.method], Curves(run.path)
    space = RecordedSpace(curves, space_of(), method.scheme, EPOCHS * TRAIN_SIZE / 45_000)
    seconds = float(run.full_trials * full_trial_seconds(curves) / run.workers)
    settings = SearchSettings(space="recorded", seed=run.seed, time_budget=seconds, workers=run.workers)
    settings = replace(settings, **method.changes)
    clock = Clock()
    plan = replace(plan_without_images(settings, space), anneals=method.scheme == SCHEMES[0])
    request = SearchRequest(settings, plan, Problem(), clock, deadline=seconds)
    study = optuna.create_study(direction=space.direction)
    if not method.prior:
        study.set_user_attr(PRIOR, {"name": NO_PRIOR})
    study.enqueue_trial(dict(space.warm_starts()[0].params), user_attrs={BASELINE: True})
    driver = Driver(study, space, request, lambda event: None)
    _change(driver, method)
    Simulation(space, run.workers, clock).run(study, request, lambda event: None, driver)
    best = ranked_or_paused(study)
    return curves.regret(None if best is None else int(best.user_attrs["candidate"]["row"]))


def _change(driver: Driver, method: Method) -> None:
    """Takes out or replaces the parts of the engine that no setting names."""
    sampler = driver.study.sampler
    if not method.model and isinstance(sampler, FreshSampler) and sampler.mixture is not None:
        sampler.mixture = replace(sampler.mixture, model=lambda seed: RandomSampler(seed % 2**32))
    if method.asha:
        plan = driver.scheduler.plan
        driver.scheduler.policy = Asha(plan.rungs, plan.eta)


def full_trial_seconds(curves: Curves) -> float:
    """Mean seconds of a full trial."""
    return float(curves.arrays["annealed_seconds"].sum(axis=1).mean())


def table(cells: dict[tuple[str, int, int], list[float]]) -> str:
    """Mean regret in points and its standard error, a line a method."""
    columns = sorted({(full, workers) for _, full, workers in cells})
    head = " | ".join(f"{full} full trials, {workers} worker{'s' * (workers > 1)}" for full, workers in columns)
    lines = [f"| regret, points | {head} |", "|---" * (len(columns) + 1) + "|"]
    for method in dict.fromkeys(name for name, _, _ in cells):
        lines.append(f"| {method} | {' | '.join(_shown(cells[method, *column]) for column in columns)} |")
    return "\n".join(lines)


def _shown(regrets: Sequence[float]) -> str:
    error = statistics.stdev(regrets) / math.sqrt(len(regrets)) if len(regrets) > 1 else math.nan
    return f"{100 * statistics.fmean(regrets):.2f} ± {100 * error:.2f}"


def main() -> int:
    """Runs all methods, prints a Markdown table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__.splitlines()[0])
    parser.add_argument("curves", type=Path, help="what benchmarks.record_curves packed")
    parser.add_argument("--full-trials", type=int, nargs="+", default=FULL_TRIALS, help="worth of training in all")
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS, help="side by side")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), help="which to run")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="searches a cell")
    parser.add_argument("--jobs", type=int, help="processes (default: one a core)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    names = [(m, full, workers) for m in args.methods for full in args.full_trials for workers in args.workers]
    cells: dict[tuple[str, int, int], list[float]] = {}
    with ProcessPoolExecutor(args.jobs) as pool:
        pending = {
            name: [pool.submit(regret, Run(args.curves, *name, seed)) for seed in range(args.seeds)] for name in names
        }
        for name, futures in pending.items():
            cells[name] = [future.result() for future in futures]
            print(*name, _shown(cells[name]), file=sys.stderr, flush=True)
    found = [{"method": m, "full_trials": f, "workers": w, "regrets": r} for (m, f, w), r in cells.items()]
    print(json.dumps(found, indent=2) if args.json else table(cells))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
