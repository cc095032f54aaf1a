"""A space whose training is written down epoch by epoch, and engines to search it with."""

from __future__ import annotations

import threading
import time
from collections import Counter
from pathlib import Path

from search.engine.engine import Emit, Engine, LocalEngine, SearchJob, work
from search.engine.events import EpochDone, Event

SPACE = """
import os, signal
from pathlib import Path
from cifar.errors import Diverged
from spaces.base import EpochReport, OwnCandidate, SearchSpace

class Candidate(OwnCandidate):
    def __init__(self, x):
        self.x = x
    def to_dict(self):
        return {{"x": self.x}}

class Logged(SearchSpace):
    direction = "minimize"
    uses_images = False
    max_epochs = {epochs}
    resumable = {resumable}
    def suggest(self, trial):
        return Candidate({suggest})
    def train(self, candidate, context):
        for epoch in range(context.epochs_done + 1, context.fidelity + 1):
            {before}
            with open("trained.log", "a") as log:
                log.write(f"{{context.seed}} {{epoch}}\\n")
            yield EpochReport(epoch, candidate.x + 1 / epoch)

space = Logged()
"""


def logged_space(
    folder: Path,
    *,
    suggest: str = "trial.suggest_float('x', 0, 1)",
    before: str = "pass",
    epochs: int = 8,
    resumable: bool = True,
) -> str:
    """Writes the space; `before` is a statement that runs before each epoch."""
    path = folder / "logged.py"
    path.write_text(SPACE.format(suggest=suggest, before=before, epochs=epochs, resumable=resumable))
    return str(path)


def trained(folder: Path) -> Counter[tuple[int, int]]:
    """How often each (seed of a trial, epoch) was trained."""
    path = folder / "trained.log"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return Counter((int(seed), int(epoch)) for seed, epoch in (line.split() for line in lines))


class ThreadEngine:
    """As many workers as wanted in this process, each with a connection of its own."""

    def run(self, job: SearchJob, emit: Emit) -> None:
        """See `Engine.run`."""
        lock, errors = threading.Lock(), []

        def one() -> None:
            try:
                work(job, emit, lock)
            except Exception as error:
                errors.append(error)

        workers = [threading.Thread(target=one) for _ in range(job.settings.workers)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if errors:
            raise errors[0]


class Watched:
    """An engine whose events are kept."""

    def __init__(self, engine: Engine | None = None) -> None:
        self.engine = engine or LocalEngine()
        self.events: list[Event] = []

    def run(self, job: SearchJob, emit: Emit) -> None:
        """See `Engine.run`."""

        def keep(event: Event) -> None:
            self.events.append(event)
            emit(event)

        self.engine.run(job, keep)

    @property
    def epochs(self) -> int:
        """Epochs that trials reported."""
        return sum(isinstance(event, EpochDone) for event in self.events)


class CountingClock:
    """Stands in for the module `time`: every deadline has passed once so many epochs were trained, and none before."""

    sleep, perf_counter = staticmethod(time.sleep), staticmethod(time.perf_counter)

    def __init__(self, folder: Path, epochs: int) -> None:
        self.folder, self.most = folder, epochs

    def time(self) -> float:
        return 0.0 if trained(self.folder).total() < self.most else 1e12
