"""What the search costs beside training: `python -m benchmarks.overhead`.

Milliseconds to ask for, run, report and store a trial of 20 epochs of no training at all, with the default storage, a
number of trials into a study, its trials paused, promoted and pruned as in any; seconds to open a long study again; and
seconds until `python -m search.run --help` has answered. With `--ray 30` instead: what a trial job takes on Ray beside
the local engine (`benchmarks/engines.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import BaseTrial

from benchmarks.engines import side_by_side, table
from search.engine.driver import SearchRequest
from search.engine.engine import run_inline
from search.engine.scheduler import Limits, Scheduler
from search.planning.planner import plan_without_images
from search.settings import SearchSettings
from search.study.study import create_study, require_study
from spaces.base import EpochReport, OwnCandidate, Problem, SearchSpace, TrialContext

REPORTS = 20  # epochs of a trial
AROUND = 20  # trials whose median is taken
PARAMETERS = 12  # about as many as resnet_budget5m proposes
COLD_STARTS = 5


@dataclass(frozen=True)
class Point(OwnCandidate):
    """A candidate that trains nothing."""

    values: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form."""
        return {"values": list(self.values)}


class Nothing(SearchSpace):
    """A space whose trainings take no time."""

    direction = "minimize"
    uses_images = False
    resumable = True
    max_epochs = REPORTS

    def suggest(self, trial: BaseTrial) -> Point:
        """A point."""
        return Point(tuple(trial.suggest_float(f"p{i}", 0, 1) for i in range(PARAMETERS)))

    def train(self, candidate: Point, context: TrialContext) -> Iterator[EpochReport]:
        """A curve that falls towards the point's own level."""
        level = float(np.square(np.array(candidate.values) - 0.3).sum())
        for epoch in range(context.epochs_done + 1, context.fidelity + 1):
            yield EpochReport(epoch, level + 1 / epoch)


class Stopwatch:
    """Notes when each trial ended or paused, and after how many epochs of its own."""

    def __init__(self) -> None:
        self.ends: list[float] = [time.perf_counter()]

    def __call__(self, event: object) -> None:
        """Takes an event."""
        if type(event).__name__ == "TrialEnded":
            self.ends.append(time.perf_counter())


def trial_milliseconds(pruner: str, counts: list[int]) -> dict[str, float]:
    """Median time of a trial (with promotion, of a trial job) around each of these numbers of trials of a study."""
    settings = SearchSettings(space="nothing", study=pruner, pruner=pruner, max_trials=max(counts) + AROUND // 2)
    space = Nothing()
    plan = plan_without_images(settings, space)
    study = create_study(settings, plan, "minimize", None, None)
    watch = Stopwatch()
    request = SearchRequest(settings, plan, Problem(), time.monotonic, max_trials=settings.max_trials)
    run_inline(study, space, request, watch)
    times = [1000 * (end - start) for start, end in zip(watch.ends, watch.ends[1:], strict=False)]
    return {
        str(count): round(statistics.median(times[count - AROUND // 2 : count + AROUND // 2]), 1) for count in counts
    }


def resume_seconds(pruner: str) -> float:
    """Until a study that was left is read and its next trial decided on."""
    settings = SearchSettings(space="nothing", study=pruner, pruner=pruner)
    started = time.perf_counter()
    study = require_study(settings)
    plan = plan_without_images(settings, Nothing())
    Scheduler(study, plan, Limits(max_trials=1), time.monotonic, pauses=pruner == "promotion").decide()
    return round(time.perf_counter() - started, 2)


def help_seconds(sources: Path) -> float:
    """Median of several new processes, which find the packages in the folder `sources`."""
    environment = {**os.environ, "PYTHONPATH": str(sources)}
    seconds = []
    for _ in range(COLD_STARTS):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "search.run", "--help"], check=True, capture_output=True, env=environment)
        seconds.append(time.perf_counter() - started)
    return round(statistics.median(seconds), 2)


def main() -> int:
    """Measures, prints a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__.splitlines()[0])
    parser.add_argument("--trials", default="100,1000", help="where in a study to measure")
    parser.add_argument("--ray", type=int, metavar="TRIALS", help="trial jobs of so many trials on Ray and without")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    counts = [int(part) for part in args.trials.split(",")]
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # the default storage lies in studies/ of the working directory
        try:
            result = side_by_side(args.ray) if args.ray else measure(counts, Path(here))
        finally:
            os.chdir(here)
    text = table(result) if args.ray else markdown(result, counts)
    print(json.dumps(result, indent=2) if args.json else text)
    return 0


def measure(counts: list[int], sources: Path) -> dict[str, Any]:
    """What trials cost around each of these numbers, and what opening a study and asking for help takes."""
    result: dict[str, Any] = {"help_seconds": help_seconds(sources)}
    for pruner in ("none", "promotion"):
        result[pruner] = {"milliseconds": trial_milliseconds(pruner, counts)}
        result[pruner]["resume_seconds"] = resume_seconds(pruner)
    return result


def markdown(result: dict[str, Any], counts: list[int]) -> str:
    """The result as a table."""
    lines = [f"| | {' | '.join(f'at trial {count:,}' for count in counts)} | opened again |"]
    lines.append("|---" * (len(counts) + 2) + "|")
    names = {"none": f"a trial of {REPORTS} reports", "promotion": "a trial job, with promotion"}
    for pruner, name in names.items():
        cells = " | ".join(f"{result[pruner]['milliseconds'][str(count)]} ms" for count in counts)
        lines.append(f"| {name} | {cells} | {result[pruner]['resume_seconds']} s |")
    lines.append(f"\n`python -m search.run --help`: {result['help_seconds']} s")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
