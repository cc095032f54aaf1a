"""A day in fast motion: thousands of trials whose driver and workers are killed and whose storage goes away.

What takes a day is training; here an epoch takes no time. The rest is real: each driver is a process with three worker
processes and keeps its study in SQLite. They are forked from a process that has imported everything, since most of a
driver's four processes' starts is importing.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from multiprocessing import forkserver
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from unittest.mock import patch

import optuna
import pytest
from optuna.trial import TrialState

from search.engine.events import Event, TrialEnded
from search.session import run_search
from search.settings import SearchSettings
from search.study.attributes import PAUSED, REASON, RETRY_OF, SEED
from search.study.study import require_study
from search.study.trials import counted, distinct, is_paused, last_ones, reached
from tests.faults.processes import forking

TRIALS = int(os.environ.get("FAULT_TRIALS", "200"))
"""Trials of the day; `python -m tests.faults --hours 24` makes 10,000 of them."""
WORKERS = 3
JOBS_A_KILL = 120
"""At most so many jobs end in a driver that is killed: those of the day's first half. The last one is not killed."""
EPOCHS_A_LOSS = 200
"""Epochs in which a worker is killed once, at random."""
GROWTH_BYTES = 100 * 10**6
"""What the memory of the last driver may grow by from its first hundred trials to its end."""
SPACE = f"""
import os, random, signal
from pathlib import Path
from spaces.base import EpochReport, OwnCandidate, SearchSpace

class Candidate(OwnCandidate):
    def __init__(self, x):
        self.x = x
    def to_dict(self):
        return {{"x": self.x}}

class Day(SearchSpace):
    direction = "minimize"
    uses_images = False
    max_epochs = 4
    resumable = True
    def suggest(self, trial):
        return Candidate(trial.suggest_float("x", 0, 1))
    def train(self, candidate, context):
        done = int(context.checkpoint.read_text()) if context.checkpoint else 0
        assert done == context.epochs_done
        for epoch in range(done + 1, context.fidelity + 1):
            if random.random() < 1 / {EPOCHS_A_LOSS}:
                Path("losses").open("a").write("a worker\\n")
                os.kill(os.getpid(), signal.SIGKILL)
            Path("trained").open("a").write(f"{{context.seed}} {{epoch}}\\n")
            yield EpochReport(epoch, candidate.x + 1 / epoch, save=lambda path: path.write_text(str(epoch)))

space = Day()
"""


def drive(settings: SearchSettings, ends: int, told: Connection[int, int]) -> None:
    """Searches until so many jobs have ended in this call, then is killed; tells by how much its memory grew."""
    memory: list[int] = []

    def watch(event: Event) -> None:
        if isinstance(event, TrialEnded):
            memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
            if len(memory) == ends:  # at any moment from now on
                threading.Timer(random.random() / 10, os.kill, (os.getpid(), signal.SIGKILL)).start()

    # workers come from the process that this one comes from, which runs
    context, running = forking(), patch.object(forkserver._forkserver, "ensure_running")
    with running, patch.object(multiprocessing, "get_context", lambda _: context):
        run_search(settings, callbacks=(watch,))
    told.send(memory[-1] - memory[min(100, len(memory) - 1)] if memory else 0)


def outages(database: Path, over: threading.Event, count: Counter[str]) -> None:
    """Locks the database for a second now and then."""
    while not over.wait(10.0):
        if database.exists():
            with closing(sqlite3.connect(database, isolation_level=None, timeout=60)) as other:
                other.execute("BEGIN EXCLUSIVE")
                time.sleep(1.0)
                other.execute("ROLLBACK")
            count["outages of a second"] += 1


@pytest.mark.slow
@pytest.mark.timeout(24 * 3600)
def test_a_day_of_kills_and_outages_loses_nothing(
    workplace: Path, record_property: Callable[[str, object], None]
) -> None:
    (workplace / "day.py").write_text(SPACE)
    (workplace / "losses").touch()  # where workers say that they are about to be killed
    settings = SearchSettings(space="day.py", max_trials=TRIALS, workers=WORKERS, sampler="random")
    over, draw, count, began = threading.Event(), random.Random(0), Counter[str](), time.monotonic()
    thread = threading.Thread(target=outages, args=(settings.folder / "study.db", over, count), daemon=True)
    thread.start()
    while trials_begun(settings) < TRIALS // 2:
        assert_ended(settings, draw.randint(1, JOBS_A_KILL), -signal.SIGKILL)
        count["killed drivers"] += 1
    growth = assert_ended(settings, -1, 0)
    over.set()
    thread.join()
    count["killed workers"] = len((workplace / "losses").read_text().split("\n")) - 1
    count["megabytes of growth"] = round(growth / 10**6)
    count["minutes"] = round((time.monotonic() - began) / 60)
    for name, number in {"trials": TRIALS, **count}.items():
        record_property(name, number)
    study = require_study(settings)
    assert_accounted_for(study, workplace, WORKERS * count["killed drivers"] + count["killed workers"])
    assert_nothing_leaked(study, settings.folder / "checkpoints")
    assert growth < GROWTH_BYTES


def trials_begun(settings: SearchSettings) -> int:
    """Trials of the study so far, without opening it as a search does."""
    database = settings.folder / "study.db"
    if not database.exists():
        return 0
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)) as connection:
        made = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'trials'").fetchone()
        return int(connection.execute("SELECT COUNT(*) FROM trials").fetchone()[0]) if made else 0


def assert_accounted_for(study: optuna.Study, folder: Path, interrupted: int) -> None:
    """Every trial was told, its values are those of its epochs, and only interrupted jobs were trained again."""
    trials = study.trials
    assert counted(trials) == TRIALS
    assert [t.number for t in trials] == list(range(len(trials)))
    assert not study.get_trials(states=(TrialState.RUNNING,))
    for trial in last_ones(trials):
        assert trial.intermediate_values == {e: trial.params["x"] + 1 / e for e in range(1, reached(trial) + 1)}
    tried_again = {t.user_attrs.get(RETRY_OF) for t in trials}
    for trial in study.get_trials(states=(TrialState.FAIL,)):  # one candidate may cost two workers, and no more
        assert trial.number in tried_again or "killed by SIGKILL" in trial.user_attrs[REASON]
    trained = Counter((folder / "trained").read_text().split("\n")[:-1])
    reported = Counter(f"{t.user_attrs[SEED]} {e}" for t in distinct(trials) for e in t.intermediate_values)
    assert not reported - trained
    assert (trained - reported).total() <= 2 * interrupted  # a job trains two epochs at most


def assert_nothing_leaked(study: optuna.Study, folder: Path) -> None:
    """There are the checkpoints of the trials that wait, and no other."""
    waiting = {f"{t.user_attrs[SEED]:016x}-{t.user_attrs[PAUSED]}.pt" for t in distinct(study.trials) if is_paused(t)}
    assert {path.name for path in folder.iterdir()} == waiting


def assert_ended(settings: SearchSettings, ends: int, code: int) -> int:
    """Runs a driver that must end with this code, and gives its growth."""
    ours, theirs = Pipe(duplex=False)
    process = forking().Process(target=drive, args=(settings, ends, theirs))
    process.start()
    theirs.close()
    process.join()
    assert process.exitcode in (code, 0)
    return int(ours.recv()) if process.exitcode == 0 else 0
