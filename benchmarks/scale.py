"""The engine with many workers and many trials: `python -m benchmarks.scale --table FILE.npz --out FILE`.

Searches recorded curves in simulated time, with epochs whose seconds differ from configuration to configuration
(log-normally, mean 1, spread `--spread`), by 1 to 256 workers for the same time. Told are utilisation, the share of the
workers' time in which they train, and the regret of `benchmarks.search_quality`. Then studies of many trials, as
promotion leaves them, tell how much CPU time a decision of the scheduler takes there, and a proposal by TPE. What is in
the file already is not done again.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from benchmarks.resumable import append, is_done, read
from benchmarks.scale_plot import drawn
from benchmarks.search_quality import Row, Table, TableSpace, ranked_or_paused
from benchmarks.simulation import Clock, Simulation
from search.engine.driver import SearchRequest
from search.engine.sampler_view import MOST_SHOWN
from search.engine.samplers import FreshSampler, make_sampler
from search.engine.scheduler import Limits, Scheduler
from search.planning.plan import Plan
from search.planning.planner import plan_without_images
from search.settings import SearchSettings
from search.study.attributes import EPOCH_SECONDS, LAST_JOB, PAUSED
from search.study.optuna_internals import set_attribute
from spaces.base import EpochReport, Problem, TrialContext

WORKERS = (1, 4, 16, 64, 256)
FULL_TRIALS = 2  # that the time holds for each worker
MOST_FULL_TRIALS = 64
"""Of all workers, up to which a table lasts: a search has its repeats trained again to tell how busy workers are, since
a long one runs out of configurations, but not to tell what it finds, which repeats would crowd out."""
SPREAD = 0.4
SEEDS = 5
SIZES = (100, 1_000, 10_000)  # trials after which decisions are timed
TIMED = 9  # decisions each
RUNNING = 64  # trials that run meanwhile


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
    replicate: bool
    """Whether configurations that were trained before are trained again, see `MOST_FULL_TRIALS`."""
    utilisation: float
    """Share of their time in which they trained."""
    trials: int
    """Trials started."""
    regret: float
    """Of what is recommended, see `benchmarks.search_quality`."""


def searched(
    path: Path, workers: int, seed: int, spread: float, full_trials: int = FULL_TRIALS, *, replicate: bool = True
) -> Outcome:
    """A search for a fixed time, whatever the number of workers."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table, clock = Table(path), Clock()
    space = TimedTableSpace(table, spread)
    settings = SearchSettings(
        space="table",
        seed=seed,
        time_budget=float(full_trials * table.epochs),
        workers=workers,
        replicate=replicate,
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
    return Outcome(workers, seed, full_trials, replicate, used, len(study.trials), regret)


@dataclass(frozen=True)
class Taken:
    """CPU time in a study of so many trials, medians."""

    size: int
    """Trials in the study."""
    decision_ms: float
    """Milliseconds of the scheduler's decision."""
    proposal_ms: float
    """Milliseconds of TPE's proposal, where a new trial is what was decided on."""


def decisions(path: Path, size: int) -> Taken:
    """What a decision and a proposal take in a study of so many trials, one of which has changed since the last."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = TableSpace(Table(path))
    plan = plan_without_images(SearchSettings(space="table"), space)
    study = study_of(space, plan, size)
    scheduler = Scheduler(study, plan, Limits(max_trials=2 * size, workers=RUNNING), time.monotonic, pauses=True)
    startup, numbers = plan.startup_trials, itertools.count(size)
    sampler = FreshSampler(
        lambda seed: make_sampler("tpe", seed % 2**32, startup), 0, rungs=plan.rungs, most=MOST_SHOWN
    )
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))[-1]

    def decide() -> None:
        set_attribute(study, running, EPOCH_SECONDS, next(numbers))
        scheduler.decide()

    def propose() -> None:
        trial = copy.copy(running)  # TPE notes its groups in the trial, so it has to be a stored one
        trial.number = next(numbers)
        sampler.sample_relative(study, trial, sampler.infer_relative_search_space(study, trial))

    return Taken(size, cpu_ms(decide), cpu_ms(propose))


def study_of(space: TableSpace, plan: Plan, size: int) -> optuna.Study:
    """A study as promotion leaves it: of n trials n / eta**k have reached rung k, the last ones have just begun."""
    study = optuna.create_study(direction="minimize")
    rows = np.random.default_rng(0).permutation(np.arange(size) % len(space.table.losses))
    study.add_trials([_trial(space.table, plan, number, int(row), size) for number, row in enumerate(rows)])
    return study


def _trial(table: Table, plan: Plan, number: int, row: int, size: int) -> FrozenTrial:
    level = next(level for level in itertools.count() if (number + 1) % int(plan.eta ** (level + 1)))
    epochs = plan.rungs[min(level, len(plan.rungs) - 1)] if number < size - RUNNING else 0
    losses = {epoch: float(loss) for epoch, loss in enumerate(table.losses[row, :epochs], 1)}
    diverged, complete = not all(map(math.isfinite, losses.values())), epochs == plan.rungs[-1]
    state = TrialState.PRUNED if diverged else TrialState.COMPLETE if complete else TrialState.RUNNING
    names = [str(name) for name in table.arrays["names"]]
    job = {PAUSED: epochs} if state is TrialState.RUNNING and epochs else {LAST_JOB: [0, plan.rungs[0]]}
    return create_trial(
        state=state,
        value=losses[epochs] if state is TrialState.COMPLETE else None,
        params=dict(zip(names, map(float, table.coordinates[row]), strict=True)),
        distributions=dict.fromkeys(names, FloatDistribution(0, 1)),
        intermediate_values={} if diverged else losses,
        user_attrs={EPOCH_SECONDS: 1.0, **job},
    )


def cpu_ms(call: Callable[[], object]) -> float:
    """Median CPU time of a call in milliseconds; the first one, which may find caches empty, does not count."""
    call()
    times = []
    for _ in range(TIMED):
        began = time.process_time()
        call()
        times.append(1000 * (time.process_time() - began))
    return statistics.median(times)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown tables of means."""
    lines = ["| workers | trials | utilisation | regret |", "|---|---|---|---|"]
    for workers in sorted({row["workers"] for row in rows if "workers" in row}):
        own = [row for row in rows if row.get("workers") == workers]
        used, trials = (statistics.fmean(r[name] for r in own if r["replicate"]) for name in ("utilisation", "trials"))
        regrets = [row["regret"] for row in own if not row["replicate"]]
        regret = f"{statistics.fmean(regrets):.3f}" if regrets else "-"
        lines.append(f"| {workers} | {trials:,.0f} | {used:.1%} | {regret} |")
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

    wanted = [
        {"workers": workers, "seed": seed, "full_trials": args.full_trials, "replicate": replicate}
        for workers in args.workers
        for replicate in ((True, False) if workers * args.full_trials <= MOST_FULL_TRIALS else (True,))
        for seed in range(args.seeds)
    ]
    named = {"table": args.table.stem, "spread": args.spread}
    with ProcessPoolExecutor(args.jobs) as pool:
        pending = [
            pool.submit(searched, args.table, spread=args.spread, **fields)
            for fields in wanted
            if not is_done(rows, {**named, **fields})
        ]
        for future in pending:
            keep(future.result())
    for size in args.sizes:
        if not is_done(rows, {**named, "size": size}):
            keep(decisions(args.table, size))
    shown = [row for row in rows if named.items() <= row.items() and row.get("full_trials") in (None, args.full_trials)]
    if args.plot:
        args.plot.write_text(drawn(shown), encoding="utf-8")
    print(table(shown))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
