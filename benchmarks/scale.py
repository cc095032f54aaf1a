"""The engine with many workers and many trials: `python -m benchmarks.scale --table FILE.npz --out FILE`.

Searches recorded curves in simulated time, with epochs whose seconds differ from configuration to configuration
(log-normally, mean 1, spread `--spread`), by 1 to 256 workers for the same time. Told are utilisation, the share of the
workers' time in which they train, and the regret of `benchmarks.search_quality`. Then one search of many trials, by 64
workers and random proposals, tells how much CPU time a decision of the scheduler takes as the study grows, and how much
a proposal by TPE would take at that size. What is in the file already is not done again.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import TrialState

from benchmarks.resumable import append, is_done, read
from benchmarks.scale_plot import drawn
from benchmarks.search_quality import Row, Table, TableSpace, ranked_or_paused
from benchmarks.simulation import Clock, Simulation
from search.engine.driver import Driver, SearchRequest
from search.engine.sampler_view import MOST_SHOWN
from search.engine.samplers import FreshSampler, make_sampler
from search.planning.plan import Plan
from search.planning.planner import plan_without_images
from search.settings import SearchSettings
from spaces.base import EpochReport, Problem, TrialContext

WORKERS = (1, 4, 16, 64, 256)
FULL_TRIALS = 2  # that the time holds for each worker
SPREAD = 0.4
SEEDS = 5
SIZES = (100, 1_000, 10_000)  # trials after which decisions are timed
TIMED = 9  # decisions each
DECIDING_WORKERS = 64


class TimedTableSpace(TableSpace):
    """A table whose configurations differ in the seconds of an epoch.

    Args:
        table: the table.
        spread: standard deviation of the logarithm of the seconds.
    """

    def __init__(self, table: Table, spread: float) -> None:
        super().__init__(table)
        normal = np.random.default_rng(0).normal(size=len(table.losses))
        self.seconds = np.exp(spread * normal - spread**2 / 2)  # (N,), mean 1

    def train(self, candidate: Row, context: TrialContext) -> Iterator[EpochReport]:
        """The recorded losses, with seconds."""
        for report in super().train(candidate, context):
            yield EpochReport(report.epoch, report.value, {"seconds": float(self.seconds[candidate.index])})


@dataclass(frozen=True)
class Outcome:
    """What a search by so many workers gave."""

    workers: int
    """Workers side by side."""
    seed: int
    """The search's seed."""
    full_trials: int
    """Full trials that the time holds for each worker."""
    utilisation: float
    """Share of their time in which they trained."""
    trials: int
    """Trials started."""
    regret: float
    """Of what is recommended, see `benchmarks.search_quality`."""


def searched(path: Path, workers: int, seed: int, spread: float, full_trials: int = FULL_TRIALS) -> Outcome:
    """A search for a fixed time, whatever the number of workers."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table, clock = Table(path), Clock()
    space = TimedTableSpace(table, spread)
    settings = SearchSettings(
        space="table", seed=seed, time_budget=float(full_trials * table.epochs), workers=workers, replicate=True
    )
    study = optuna.create_study(direction="minimize")
    request = SearchRequest(
        settings, plan_without_images(settings, space), Problem(), clock, deadline=settings.time_budget
    )
    simulation = Simulation(space, workers, clock)
    simulation.run(study, request, lambda event: None)
    best = ranked_or_paused(study)
    regret = table.regret(None if best is None else int(best.user_attrs["candidate"]["row"]))
    used = simulation.busy / (workers * clock.now)
    return Outcome(workers, seed, full_trials, used, len(study.trials), regret)


@dataclass(frozen=True)
class Taken:
    """CPU time in a study of so many trials, medians."""

    size: int
    """Trials in the study."""
    decision_ms: float
    """Milliseconds of the scheduler's decision."""
    proposal_ms: float
    """Milliseconds of TPE's proposal, where a new trial is what was decided on."""


@dataclass
class Stopwatch:
    """Times decisions of a scheduler, and proposals, when its study has grown to certain sizes."""

    sizes: Sequence[int]
    """Numbers of trials, rising."""
    plan: Plan
    """The study's plan."""
    taken: list[Taken] = field(default_factory=list)
    """What was measured, by size."""

    def __post_init__(self) -> None:
        startup = self.plan.startup_trials
        self.sampler = FreshSampler(
            lambda seed: make_sampler("tpe", seed % 2**32, startup), 0, rungs=self.plan.rungs, most=MOST_SHOWN
        )

    def __call__(self, driver: Driver) -> None:
        """Looks at the study; what is timed changes nothing, so it can be done as often as wanted."""
        due = self.sizes[len(self.taken) :]
        if due and len(driver.study.get_trials(deepcopy=False)) >= due[0]:
            numbers = iter(range(due[0], due[0] + TIMED + 1))
            decision = cpu_ms(driver.scheduler.decide)
            self.taken.append(Taken(due[0], decision, cpu_ms(lambda: self._propose(driver, next(numbers)))))

    def _propose(self, driver: Driver, number: int) -> None:
        """Proposes what trial `number` would be; TPE notes its groups in the trial, so it has to be a stored one."""
        running = driver.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        trial = copy.copy(running[-1])
        trial.number = number
        space = self.sampler.infer_relative_search_space(driver.study, trial)
        self.sampler.sample_relative(driver.study, trial, space)


def cpu_ms(call: Callable[[], object]) -> float:
    """Median CPU time of a call in milliseconds; the first one, which may find caches empty, does not count."""
    call()
    times = []
    for _ in range(TIMED):
        began = time.process_time()
        call()
        times.append(1000 * (time.process_time() - began))
    return statistics.median(times)


def decisions(path: Path, sizes: Sequence[int], spread: float) -> list[Taken]:
    """What decisions take as a study grows to these sizes."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    clock, space = Clock(), TimedTableSpace(Table(path), spread)
    settings = SearchSettings(
        space="table", sampler="random", max_trials=sizes[-1] + 1, workers=DECIDING_WORKERS, replicate=True
    )
    plan = plan_without_images(settings, space)
    request = SearchRequest(settings, plan, Problem(), clock, max_trials=settings.max_trials)
    study, watch = optuna.create_study(direction="minimize"), Stopwatch(sizes, plan)
    Simulation(space, DECIDING_WORKERS, clock, watch).run(study, request, lambda event: None)
    return watch.taken


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown tables of means."""
    lines = ["| workers | searches | utilisation | trials | regret |", "|---|---|---|---|---|"]
    for workers in sorted({row["workers"] for row in rows if "workers" in row}):
        own = [row for row in rows if row.get("workers") == workers]
        used, trials, regret = (statistics.fmean(r[name] for r in own) for name in ("utilisation", "trials", "regret"))
        lines.append(f"| {workers} | {len(own)} | {used:.1%} | {trials:,.0f} | {regret:.3f} |")
    lines += ["", "| trials in the study | a decision takes | a proposal takes |", "|---|---|---|"]
    for row in sorted((row for row in rows if "size" in row), key=lambda row: row["size"]):
        lines.append(f"| {row['size']:,} | {row['decision_ms']:.1f} ms | {row['proposal_ms']:.1f} ms |")
    return "\n".join(lines)


def main() -> int:
    """Runs what is missing, prints tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, required=True, help="recorded curves")
    parser.add_argument("--workers", type=int, nargs="*", default=WORKERS, help="numbers to try")
    parser.add_argument("--full-trials", type=int, default=FULL_TRIALS, help="that the time holds for each worker")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="searches with each")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="trials after which decisions are timed")
    parser.add_argument("--spread", type=float, default=SPREAD, help="of the logarithm of an epoch's seconds")
    parser.add_argument("--jobs", type=int, help="processes (default: one a core)")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines to add to")
    parser.add_argument("--plot", type=Path, help="draw all that is in --out to this SVG file")
    args = parser.parse_args()
    rows = read(args.out)

    def keep(result: Outcome | Taken) -> None:
        rows.append({"table": args.table.stem, "spread": args.spread, **asdict(result)})
        append(args.out, rows[-1])
        print(result, file=sys.stderr, flush=True)

    wanted = [(workers, seed) for workers in args.workers for seed in range(args.seeds)]
    named = {"table": args.table.stem, "spread": args.spread}
    with ProcessPoolExecutor(args.jobs) as pool:
        pending = [
            pool.submit(searched, args.table, workers, seed, args.spread, args.full_trials)
            for workers, seed in wanted
            if not is_done(rows, {**named, "workers": workers, "seed": seed, "full_trials": args.full_trials})
        ]
        for future in pending:
            keep(future.result())
    sizes = [size for size in args.sizes if not is_done(rows, {**named, "size": size})]
    for taken in decisions(args.table, sizes, args.spread) if sizes else ():
        keep(taken)
    shown = [row for row in rows if named.items() <= row.items() and row.get("full_trials") in (None, args.full_trials)]
    if args.plot:
        args.plot.write_text(drawn(shown), encoding="utf-8")
    print(table(shown))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
