"""Records learning curves of the real space: `python -m benchmarks.record_curves --out FILE.jsonl`.

Candidates of `resnet_budget5m` are trained as README's search of a quarter of an hour on two cores trains them: a third
drawn around the space's prior, a third anywhere, a third proposed by TPE from what is recorded so far. Each is trained
twice, by either rung scheme: with schedules that come to their end at each rung (`search.planning.rungs`), and with
schedules stretched over the whole. Every fourth is also trained on four times the images, by one schedule, since that
is what rungs should predict; and so are the best in the end, since they are the ones that a search chooses among.

Values are validation accuracies; test images are never read. Seconds are CPU time of one thread, so that `--jobs` runs
train side by side, a core each, and other work on the machine changes nothing. Each candidate is written to `--out`
at its end, and a repetition of the command records only what is missing.
`--npz` packs the lines and prints how well the rungs of either scheme rank the candidates.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, as_completed, wait
from dataclasses import dataclass, replace
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import torch
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FixedTrial, FrozenTrial, create_trial

from benchmarks.ema_at_rungs import correlation
from benchmarks.recorded import SCHEMES, Curves, save
from benchmarks.resumable import append, read
from cifar.candidate import Candidate
from cifar.data.prepare import prepare
from cifar.data.splits import load_training_split
from cifar.errors import Diverged
from cifar.runtime.device import choose_device
from cifar.runtime.seeds import derive_seed
from search.engine.neighbourhood import Around
from search.engine.samplers import make_sampler
from search.planning.rungs import rungs_from_top
from search.study.projection import Point, projected
from spaces.base import Problem, SearchSpace, TrialContext, propose
from spaces.registry import load_space

SPACE = "resnet_budget5m"
MAC_BUDGET = 8_800_000  # the plan of README's command on two cores; it moves with the machine by some tenths
EPOCHS, TRAIN_SIZE, VAL_SIZE, VAL_LIMIT = 8, 6_200, 5_000, 1_860  # likewise
RUNGS = rungs_from_top(1, EPOCHS, 2)
LONGER = 4  # times the images of a full trial
EVERY = 4  # one of so many candidates is trained for longer
STARTUP = 10  # recorded candidates before TPE learns
BEST = 12  # as many of the best after a full trial are trained for longer too
CHANCE = 0.1  # accuracy
SOURCES = ("prior", "uniform", "sampler")  # in turn


@dataclass(frozen=True)
class Job:
    """A candidate for a process of its own."""

    number: int
    """Its number, from 0, which is its seed as well."""
    params: Mapping[str, Any]
    """Optuna parameters."""
    data: str | None
    """Source of the images."""
    only_longer: bool = False
    """Whether only the longer training is wanted."""


def space_of() -> SearchSpace:
    """The space, with the limits of the plan."""
    return load_space(SPACE, Problem(mac_budget=MAC_BUDGET))


def curve(candidate: Candidate, space: SearchSpace, context: TrialContext) -> dict[str, list[float]]:
    """Value and CPU seconds of each epoch; they end where the loss diverges."""
    values: list[float] = []
    seconds: list[float] = []
    last = time.process_time()
    try:
        for report in space.train(candidate, context):
            now = time.process_time()
            values.append(round(report.value, 4))
            seconds.append(round(now - last, 3))
            last = now
    except Diverged:
        pass
    return {"values": values, "seconds": seconds}


def run_job(job: Job) -> dict[str, Any]:
    """Trains a candidate; its line of the results."""
    torch.set_num_threads(1)
    space, data, device = space_of(), prepare(job.data), choose_device("cpu")
    candidate = space.suggest(FixedTrial(dict(job.params)))
    assert isinstance(candidate, Candidate)
    split = load_training_split(data, val_size=VAL_SIZE, train_size=TRAIN_SIZE, val_limit=VAL_LIMIT)
    annealed = TrialContext(EPOCHS, job.number, device, split, schedule_ends=RUNGS)
    row: dict[str, Any] = {}
    if not job.only_longer:
        row = {
            "parameters": candidate.cost.parameters,
            "macs": candidate.cost.macs,
            "annealed": curve(candidate, space, annealed),
            "stretched": curve(candidate, space, replace(annealed, schedule_ends=())),
        }
    if job.only_longer or job.number % EVERY == 0:
        long = load_training_split(data, val_size=VAL_SIZE, train_size=LONGER * TRAIN_SIZE)
        row["longer"] = curve(candidate, space, replace(annealed, split=long, schedule_ends=()))
    return row


def proposed(space: SearchSpace, number: int, rows: Sequence[Mapping[str, Any]]) -> FrozenTrial:
    """The first proposal of a candidate's source that keeps the limits; the first candidate is the prior's point."""
    study = optuna.create_study(direction="maximize", sampler=sampler_of(space, number))
    study.add_trials([stored(space, row) for row in rows])
    while True:
        trial = study.ask()
        cost = propose(space, trial).cost
        if (
            cost is not None
            and space.param_budget
            and cost.parameters <= space.param_budget
            and cost.macs <= MAC_BUDGET
        ):
            return study.trials[trial.number]


def sampler_of(space: SearchSpace, number: int) -> BaseSampler:
    """What draws a candidate, by its number."""
    source, seed = SOURCES[number % len(SOURCES)], derive_seed(0, "curves", number)
    anywhere = RandomSampler(seed % 2**32)
    if source == "sampler":
        return make_sampler("tpe", seed % 2**32, STARTUP)
    prior = space.prior(EPOCHS * TRAIN_SIZE / 45_000)
    if source == "uniform" or prior is None:
        return anywhere
    spread = prior.spread_of if number else lambda name: 0.0
    return Around(prior.point, lambda name, _: spread(name), random.Random(seed), anywhere)


def stored(space: SearchSpace, row: Mapping[str, Any]) -> FrozenTrial:
    """A recorded candidate as a complete trial; one that diverged has the value of chance."""
    fixed = FixedTrial(row["params"])
    space.suggest(fixed)
    return create_trial(params=row["params"], distributions=fixed.distributions, value=value_of(row))


def recorded(path: Path, count: int, data: str | None, jobs: int) -> Iterator[dict[str, Any]]:
    """Trains what is missing, so many at once; rows as they come."""
    space, done = space_of(), merged(read(path))
    missing = [number for number in range(count) if number not in {row["number"] for row in done}]
    running: dict[Future[dict[str, Any]], tuple[int, dict[str, Any]]] = {}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        while missing or running:
            while missing and len(running) < jobs:
                number = missing.pop(0)
                params = proposed(space, number, done).params
                running[pool.submit(run_job, Job(number, params, data))] = (number, params)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                number, params = running.pop(future)
                source = SOURCES[number % len(SOURCES)]
                row: dict[str, Any] = {"number": number, "source": source, "params": params, **future.result()}
                done.append(row)
                yield row


def of_the_best(path: Path, data: str | None, jobs: int) -> Iterator[dict[str, Any]]:
    """Trains the best ones for longer that were not yet, so many at once; what to add to their rows as it comes."""
    best = sorted(merged(read(path)), key=value_of, reverse=True)[:BEST]
    wanted = [Job(row["number"], row["params"], data, only_longer=True) for row in best if "longer" not in row]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(run_job, job): job.number for job in wanted}
        for future in as_completed(running):
            yield {"number": running[future], **future.result()}


def value_of(row: Mapping[str, Any]) -> float:
    """A candidate's value after a full trial; that of chance if it diverged."""
    values = row["annealed"]["values"]
    return float(values[-1]) if len(values) == EPOCHS else CHANCE


def merged(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row a candidate, of all lines about it."""
    rows: dict[int, dict[str, Any]] = {}
    for line in lines:
        rows.setdefault(line["number"], {}).update(line)
    return list(rows.values())


def correlations(curves: Curves) -> str:
    """How well each rung of either scheme ranks candidates: Spearman's correlation with its bootstrap error."""
    long = ~np.isnan(curves.arrays["longer"])
    lines = [
        f"| rank correlation after epoch | {' | '.join(map(str, RUNGS))} |",
        "|---" * (len(RUNGS) + 1) + "|",
    ]
    for scheme in SCHEMES:
        values = np.nan_to_num(curves.arrays[scheme], nan=CHANCE)
        full, longer = np.nan_to_num(curves.final, nan=CHANCE), curves.arrays["longer"][long]
        for name, rows, target in (("full trial", ~np.isnan(full), full), (f"{LONGER} times as long", long, longer)):
            found = [correlation(pd.Series(values[rows, rung - 1]), pd.Series(target)) for rung in RUNGS]
            cells = (f"{cell['rho']:.2f} ± {cell['stderr']:.2f}" for cell in found)
            lines.append(f"| {scheme}, with the value of {rows.sum()} {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def projections(curves: Curves) -> str:
    """How well a longer training is told by the values of a full trial, and by the errors at its rungs, extended."""
    arrays = curves.arrays
    long = ~np.isnan(arrays["longer"]) & ~np.isnan(arrays["annealed"][:, -1])
    values, longer = arrays["annealed"][long], arrays["longer"][long]
    told = {"the value of a full trial": values[:, -1], "its errors at the rungs, extended": _projected(values)}
    best = values[:, -1] >= np.median(values[:, -1])
    lines = [
        f"| what tells the value after {LONGER} times the images | rank correlation | among the better half "
        "| right about being ahead of the baseline | mean error, points |",
        "|---|---|---|---|---|",
    ]
    for name, by in told.items():
        found = [correlation(pd.Series(by[rows]), pd.Series(longer[rows])) for rows in (np.ones_like(best), best)]
        cells = (f"{cell['rho']:.2f} ± {cell['stderr']:.2f}" for cell in found)
        right = (by[1:] > by[0]) == (longer[1:] > longer[0])
        lines.append(
            f"| {name} | {' | '.join(cells)} | {right.sum()} of {len(right)} | {100 * np.mean(by - longer):+.1f} |"
        )
    return "\n".join(lines)


def _projected(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Accuracies after the longer training, as `search.study.projection` has them."""
    trained = ([Point(rung * TRAIN_SIZE, row[rung - 1]) for rung in RUNGS] for row in values.tolist())
    return np.array([projected(points, LONGER * EPOCHS * TRAIN_SIZE) for points in trained])


def main() -> int:
    """Records what is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.record_curves", description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="images, as for search.run")
    parser.add_argument("--candidates", type=int, default=120, help="how many in all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trained at once, a thread each")
    parser.add_argument("--out", type=Path, required=True, help="results, one JSON object a line; read and appended to")
    parser.add_argument("--npz", type=Path, help="where to pack all results, for benchmarks.replay")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for row in chain(
        recorded(args.out, args.candidates, args.data, args.jobs), of_the_best(args.out, args.data, args.jobs)
    ):
        append(args.out, row)
        ends = ", ".join(
            f"{scheme} {row[scheme]['values'][-1:]}" for scheme in ("annealed", "stretched", "longer") if scheme in row
        )
        print(f"candidate {row['number']}: {ends}", file=sys.stderr, flush=True)
    if args.npz:
        save(args.npz, merged(read(args.out)), EPOCHS)
        print(correlations(Curves(args.npz)), projections(Curves(args.npz)), sep="\n\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
