"""A space whose training is written down epoch by epoch, and engines to search it with."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from search.engine.driver import Emit, SearchRequest
from search.engine.engine import Engine, LocalEngine, run_inline
from search.engine.events import EpochDone, Event
from search.study.study import require_study
from spaces.multi_limit import space_for

SPACE = """
import os, signal
from pathlib import Path
from cifar.errors import Diverged
from spaces.base import EpochReport, OwnCandidate, SearchSpace, WarmStart

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
    def warm_starts(self):
        return [WarmStart(f"start {{x}}", {{"x": x}}) for x in {starts}]
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
    starts: tuple[float, ...] = (),
) -> str:
    """Writes the space; `before` is a statement that runs before each epoch, `starts` are the points tried first."""
    path = folder / "logged.py"
    path.write_text(SPACE.format(suggest=suggest, before=before, epochs=epochs, resumable=resumable, starts=starts))
    return str(path)


def trained(folder: Path) -> Counter[tuple[int, int]]:
    """How often each (seed of a trial, epoch) was trained."""
    path = folder / "trained.log"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return Counter((int(seed), int(epoch)) for seed, epoch in (line.split() for line in lines))


class InterleavedEngine:
    """Workers in this process that train an epoch each in turn: their jobs overlap in an order that never varies."""

    def run(self, request: SearchRequest, emit: Emit) -> None:
        """See `Engine.run`."""
        study = require_study(request.settings)
        space = space_for(request.settings.space, request.problem, request.plan.param_budgets)
        run_inline(study, space, request, emit, workers=request.settings.workers)


class OnRay:
    """Ray on this machine, with as many trials side by side as the settings have workers."""

    def run(self, request: SearchRequest, emit: Emit) -> None:
        """See `Engine.run`."""
        from search.engine.ray_tune.engine import RayEngine

        settings = replace(request.settings, engine="ray", max_concurrent=request.settings.workers)
        RayEngine().run(replace(request, settings=settings), emit)


class Watched:
    """An engine whose events are kept."""

    def __init__(self, engine: Engine | None = None) -> None:
        self.engine = engine or LocalEngine()
        self.events: list[Event] = []

    def run(self, request: SearchRequest, emit: Emit) -> None:
        """See `Engine.run`."""

        def keep(event: Event) -> None:
            self.events.append(event)
            emit(event)

        self.engine.run(request, keep)

    @property
    def epochs(self) -> int:
        """Epochs that trials reported."""
        return sum(isinstance(event, EpochDone) for event in self.events)


class CountingClock:
    """A clock that jumps past every deadline once so many epochs were trained, and stands still before."""

    def __init__(self, folder: Path, epochs: int) -> None:
        self.folder, self.most = folder, epochs

    def __call__(self) -> float:
        return 0.0 if trained(self.folder).total() < self.most else 1e12
