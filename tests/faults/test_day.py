"""A day in fast motion: thousands of trials whose driver and workers are killed and whose storage goes away."""

from __future__ import annotations

import os
import random
import resource
import signal
import sqlite3
import threading
import time
from contextlib import closing
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

import pytest
from optuna.trial import TrialState

from search.engine.events import Event, TrialEnded
from search.session import run_search
from search.settings import SearchSettings
from search.study.attributes import PAUSED, REPEAT_OF, SEED
from search.study.study import require_study
from search.study.trials import counted, distinct
from tests.faults.processes import forking

TRIALS = int(os.environ.get("FAULT_TRIALS", "200"))
"""Trials of the day; `python -m tests.faults --hours 24` makes 10,000 of them."""
TRIALS_A_KILL = 40
"""Trials that end between two kills of a driver; workers are killed about as often."""
GROWTH_BYTES = 100 * 10**6
"""What the driver's memory may grow by in all of its trials but the first hundred."""
SPACE = """
import os, random, signal
from spaces.base import EpochReport, OwnCandidate, SearchSpace

class Candidate(OwnCandidate):
    def __init__(self, x):
        self.x = x
    def to_dict(self):
        return {"x": self.x}

class Day(SearchSpace):
    direction = "minimize"
    uses_images = False
    max_epochs = 4
    resumable = True
    def suggest(self, trial):
        return Candidate(trial.suggest_float("x", 0, 1))
    def train(self, candidate, context):
        for epoch in range(context.epochs_done + 1, context.fidelity + 1):
            if random.random() < 0.01:
                os.kill(os.getpid(), signal.SIGKILL)
            yield EpochReport(epoch, candidate.x + 1 / epoch, save=lambda path: path.write_text("state"))

space = Day()
"""


def drive(settings: SearchSettings, ends: int, told: Connection[int, int]) -> None:
    """Searches until so many trials have ended in this call, then kills itself; tells by how much its memory grew."""
    memory: list[int] = []

    def watch(event: Event) -> None:
        if isinstance(event, TrialEnded):
            memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
        if len(memory) == ends:
            os.kill(os.getpid(), signal.SIGKILL)

    run_search(settings, callbacks=(watch,))
    told.send(memory[-1] - memory[min(100, len(memory) - 1)] if memory else 0)


def outages(database: Path, ended: threading.Event) -> None:
    """Locks the database for a second now and then."""
    while not ended.wait(10.0):
        if database.exists():
            with closing(sqlite3.connect(database, isolation_level=None, timeout=60)) as other:
                other.execute("BEGIN EXCLUSIVE")
                time.sleep(1.0)
                other.execute("ROLLBACK")


@pytest.mark.slow
@pytest.mark.timeout(24 * 3600)
def test_a_day_of_kills_and_outages_loses_nothing(workplace: Path) -> None:
    (workplace / "day.py").write_text(SPACE)
    settings = SearchSettings(space="day.py", max_trials=TRIALS, workers=3, sampler="random")
    over, draw = threading.Event(), random.Random(0)
    thread = threading.Thread(target=outages, args=(settings.folder / "study.db", over), daemon=True)
    thread.start()
    for _ in range(max(2, TRIALS // TRIALS_A_KILL // 2)):
        assert_ended(settings, draw.randrange(1, TRIALS_A_KILL), -signal.SIGKILL)
    growth = assert_ended(settings, -1, 0)
    over.set()
    thread.join()
    assert growth < GROWTH_BYTES
    study = require_study(settings)
    assert counted(study.trials) == TRIALS
    assert not study.get_trials(states=(TrialState.RUNNING,))
    assert [t.number for t in study.trials] == list(range(len(study.trials)))
    waiting = {
        t.user_attrs[SEED] for t in distinct(study.trials) if t.user_attrs.get(PAUSED) and REPEAT_OF not in t.user_attrs
    }
    kept = {int(path.stem.partition("-")[0], 16) for path in (settings.folder / "checkpoints").glob("*.pt")}
    assert kept <= waiting


def assert_ended(settings: SearchSettings, ends: int, code: int) -> int:
    """Runs a driver that must end with this code, and gives its growth."""
    ours, theirs = Pipe(duplex=False)
    process = forking().Process(target=drive, args=(settings, ends, theirs))
    process.start()
    theirs.close()
    process.join()
    assert process.exitcode in (code, 0)
    return int(ours.recv()) if process.exitcode == 0 else 0
