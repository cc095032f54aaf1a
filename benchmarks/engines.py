"""A trial job's time by the local engine and by Ray Tune, for `python -m benchmarks.overhead --ray 30`.

Both search the tiny space `resnet_budget30k` on toy images, two trials at once, in turn, `TIMES` each; the slower runs
are told. Time counts from the first epoch that was trained to the end of the last job: what it takes to start Ray is
apart, and what it takes to start workers is out.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from cifar.data.toy import toy_npz
from search.engine.driver import Emit, SearchRequest
from search.engine.engine import Engine, LocalEngine
from search.engine.events import EpochDone, Event, TrialEnded
from search.session import run_search
from search.settings import SearchSettings

AT_ONCE = 2
TIMES = 2


class Timed:
    """An engine whose trial jobs are timed."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.jobs = engine, 0
        self.began = self.ended = 0.0  # readings of the clock, in seconds

    def run(self, request: SearchRequest, emit: Emit) -> None:
        """See `Engine.run`."""

        def note(event: Event) -> None:
            if isinstance(event, EpochDone):
                self.began = self.began or time.perf_counter()
            elif isinstance(event, TrialEnded) and event.outcome.trained:
                self.jobs, self.ended = self.jobs + 1, time.perf_counter()
            emit(event)

        self.engine.run(request, note)

    @property
    def figures(self) -> dict[str, float]:
        """Jobs, seconds of all and seconds of each."""
        seconds = self.ended - self.began
        return {"jobs": self.jobs, "seconds": round(seconds, 1), "seconds_a_job": round(seconds / self.jobs, 3)}


def side_by_side(trials: int) -> dict[str, Any]:
    """Figures of both engines for so many trials each, and their ratio; in the working folder."""
    from search.engine.ray_tune.cluster import connect
    from search.engine.ray_tune.engine import RayEngine

    niceness = "RAY_worker_niceness"  # Ray has its workers give way to others, which counts on a machine with others
    os.environ[niceness] = "0"
    toy_npz(Path("toy.npz"), train=2000, test=100, size=16)
    on_ray: dict[str, Any] = {"engine": "ray", "max_concurrent": AT_ONCE}
    started = time.perf_counter()
    connect(_settings("ray", trials, **on_ray))
    start_seconds = round(time.perf_counter() - started, 1)
    local, ray = [], []
    for turn in range(TIMES):
        local.append(_timed(LocalEngine(), _settings(f"local-{turn}", trials, workers=AT_ONCE)))
        ray.append(_timed(RayEngine(), _settings(f"ray-{turn}", trials, **on_ray)))
        print(local[-1], ray[-1], file=sys.stderr, flush=True)
    ratio = round(_slower(ray)["seconds_a_job"] / _slower(local)["seconds_a_job"], 2)
    runs = {"local_runs": local, "ray_runs": ray}
    return {"local": _slower(local), "ray": _slower(ray), "ratio": ratio, "ray_start_seconds": start_seconds, **runs}


def _slower(runs: list[dict[str, float]]) -> dict[str, float]:
    return max(runs, key=lambda run: run["seconds_a_job"])


def table(result: dict[str, Any]) -> str:
    """The figures as a table."""
    lines = ["| engine | jobs | seconds | seconds a job |", "|---|---|---|---|"]
    for name in ("local", "ray"):
        figures = result[name]
        lines.append(f"| {name} | {figures['jobs']} | {figures['seconds']} | {figures['seconds_a_job']} |")
    lines.append(f"\nRay / local: {result['ratio']}x; Ray's start, apart: {result['ray_start_seconds']} s")
    return "\n".join(lines)


def _settings(study: str, trials: int, **changes: Any) -> SearchSettings:
    return SearchSettings(
        space="resnet_budget30k",
        study=study,
        data="toy.npz",
        val_size=400,
        mac_budget=3_000_000,
        max_trials=trials,
        max_epochs=4,
        device="cpu",
        **changes,
    )


def _timed(engine: Engine, settings: SearchSettings) -> dict[str, float]:
    timed = Timed(engine)
    run_search(settings, engine=timed)
    return timed.figures
