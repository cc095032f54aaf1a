"""The engine with many workers and many trials: `python -m benchmarks.scale --table FILE.npz`.

Searches recorded curves in simulated time, with epochs whose seconds differ from configuration to configuration
(log-normally, mean 1, spread `--spread`), by 1 to 256 workers for the same time. Told are utilisation, the share of the
workers' time in which they train, and the regret of `benchmarks.search_quality`. Then one search of many trials, by 64
workers and random proposals, tells how much CPU time a decision of the scheduler takes as the study grows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks.search_quality import Row, Table, TableSpace, ranked_or_paused
from benchmarks.simulation import Clock, Simulation
from search.engine.driver import Driver, SearchRequest
from search.planning.planner import plan_without_images
from search.settings import SearchSettings
from spaces.base import EpochReport, Problem, TrialContext

WORKERS = (1, 4, 16, 64, 256)
FULL_TRIALS = 12  # that the time holds for each worker
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
    utilisation: float
    """Share of their time in which they trained."""
    trials: int
    """Trials started."""
    regret: float
    """Of what is recommended, see `benchmarks.search_quality`."""


def searched(path: Path, workers: int, seed: int, spread: float) -> Outcome:
    """A search for a fixed time, whatever the number of workers."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table, clock = Table(path), Clock()
    space = TimedTableSpace(table, spread)
    settings = SearchSettings(
        space="table", seed=seed, time_budget=float(FULL_TRIALS * table.epochs), workers=workers, replicate=True
    )
    study = optuna.create_study(direction="minimize")
    request = SearchRequest(
        settings, plan_without_images(settings, space), Problem(), clock, deadline=settings.time_budget
    )
    simulation = Simulation(space, workers, clock)
    simulation.run(study, request, lambda event: None)
    best = ranked_or_paused(study)
    regret = table.regret(None if best is None else int(best.user_attrs["candidate"]["row"]))
    return Outcome(workers, simulation.busy / (workers * clock.now), len(study.trials), regret)


@dataclass
class Stopwatch:
    """Times decisions of a scheduler when its study has grown to certain sizes."""

    sizes: Sequence[int]
    """Numbers of trials, rising."""
    seconds: dict[int, float] = field(default_factory=dict)
    """Median CPU seconds of a decision, by size."""

    def __call__(self, driver: Driver) -> None:
        """Looks at the study; a decision writes nothing, so it can be asked for as often as wanted."""
        due = self.sizes[len(self.seconds) :]
        if not due or len(driver.study.get_trials(deepcopy=False)) < due[0]:
            return
        times = []
        for _ in range(TIMED):
            began = time.process_time()
            driver.scheduler.decide()
            times.append(time.process_time() - began)
        self.seconds[due[0]] = statistics.median(times)


def decisions(path: Path, sizes: Sequence[int], spread: float) -> dict[int, float]:
    """Median CPU seconds of a decision, by the number of trials of the study."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    clock, watch = Clock(), Stopwatch(sizes)
    space = TimedTableSpace(Table(path), spread)
    settings = SearchSettings(
        space="table", sampler="random", max_trials=sizes[-1], workers=DECIDING_WORKERS, replicate=True
    )
    request = SearchRequest(
        settings, plan_without_images(settings, space), Problem(), clock, max_trials=settings.max_trials
    )
    study = optuna.create_study(direction="minimize")
    Simulation(space, DECIDING_WORKERS, clock, watch).run(study, request, lambda event: None)
    return watch.seconds


def table(outcomes: Sequence[Outcome], seconds: dict[int, float]) -> str:
    """Markdown tables of means."""
    lines = ["| workers | utilisation | trials | regret |", "|---|---|---|---|"]
    for workers in sorted({outcome.workers for outcome in outcomes}):
        own = [outcome for outcome in outcomes if outcome.workers == workers]
        used, trials, regret = (
            statistics.fmean(getattr(outcome, name) for outcome in own) for name in ("utilisation", "trials", "regret")
        )
        lines.append(f"| {workers} | {used:.1%} | {trials:,.0f} | {regret:.3f} |")
    lines += ["", "| trials in the study | a decision takes |", "|---|---|"]
    lines += [f"| {size:,} | {1000 * taken:.1f} ms |" for size, taken in seconds.items()]
    return "\n".join(lines)


def drawn(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draws utilisation and regret over the number of workers, as a page of its own."""
    from plotly.graph_objects import Figure, Scatter
    from plotly.subplots import make_subplots

    figure: Figure = make_subplots(1, 2, subplot_titles=["Workers are kept busy", "More workers find better ones"])
    workers = sorted({outcome.workers for outcome in outcomes})
    for column, name in enumerate(("utilisation", "regret"), 1):
        means = [statistics.fmean(getattr(o, name) for o in outcomes if o.workers == count) for count in workers]
        figure.add_trace(Scatter(x=workers, y=means, mode="lines+markers", showlegend=False), 1, column)
        figure.update_xaxes(title="workers", type="log", tickvals=workers, row=1, col=column)
        figure.update_yaxes(title=name, rangemode="tozero", row=1, col=column)
    figure.write_html(path, include_plotlyjs=True)


def main() -> int:
    """Runs all searches, prints tables or JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, required=True, help="recorded curves")
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS, help="numbers to try")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="searches with each")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="trials after which decisions are timed")
    parser.add_argument("--spread", type=float, default=SPREAD, help="of the logarithm of an epoch's seconds")
    parser.add_argument("--jobs", type=int, help="processes (default: one a core)")
    parser.add_argument("--plot", type=Path, help="draw to this HTML file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    outcomes: list[Outcome] = []
    with ProcessPoolExecutor(args.jobs) as pool:
        pending = [
            pool.submit(searched, args.table, workers, seed, args.spread)
            for workers in args.workers
            for seed in range(args.seeds)
        ]
        for future in pending:
            outcomes.append(future.result())
            print(outcomes[-1], file=sys.stderr, flush=True)
    seconds = decisions(args.table, args.sizes, args.spread) if args.sizes else {}
    if args.plot:
        drawn(outcomes, args.plot)
    found: dict[str, Any] = {"searches": [asdict(outcome) for outcome in outcomes], "decision_seconds": seconds}
    print(json.dumps(found, indent=2) if args.json else table(outcomes, seconds))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
