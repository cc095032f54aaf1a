"""A disk that fills up: one line that says so, no half-written file, and the search goes on once there is room."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

import pytest
from optuna.trial import TrialState

import search.run
from cifar.checkpoint import load
from search.cli import run_command
from search.settings import SearchSettings
from search.study.study import require_study
from search.study.trials import counted
from tests.faults.processes import ended, forking

PLACES = 20
DISK_BYTES = 16 * 2**20
"""Size of the disk, most of which is taken at first."""
NEEDED_BYTES = 8 * 2**20
"""A little more than what the search needs, checkpoints, database and its log."""
SPACE = """
import torch
from cifar.checkpoint import load, save
from spaces.base import EpochReport, OwnCandidate, SearchSpace

class Candidate(OwnCandidate):
    def __init__(self, x):
        self.x = x
    def to_dict(self):
        return {"x": self.x}

class Saved(SearchSpace):
    direction = "minimize"
    uses_images = False
    max_epochs = 4
    resumable = True
    def suggest(self, trial):
        return Candidate(trial.suggest_float("x", 0, 1))
    def train(self, candidate, context):
        if context.checkpoint is not None:
            load(context.checkpoint)
        for epoch in range(context.epochs_done + 1, context.fidelity + 1):
            yield EpochReport(epoch, candidate.x + 1 / epoch, save=lambda path: save(path, {"w": torch.zeros(100_000)}))

space = Saved()
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own; without the right to mount one the test is skipped."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("may not mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def call(folder: Path, line: list[str], told: Connection[tuple[int, str], object]) -> None:
    """`search.run` in a folder, as a command."""
    os.chdir(folder)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    errors = folder.parent / "errors"
    with errors.open("w") as file, contextlib.redirect_stderr(file):
        status = run_command(search.run.main, line)
    told.send((status, errors.read_text()))


def called(folder: Path, line: list[str]) -> tuple[int, str]:
    """Exit status and error messages."""
    ours, theirs = Pipe(duplex=False)
    process = forking().Process(target=call, args=(folder, line, theirs))
    process.start()
    theirs.close()
    assert ended(process) == 0
    answer: tuple[int, str] = ours.recv()
    return answer


@pytest.mark.parametrize("place", [n if n == 7 else pytest.param(n, marks=pytest.mark.slow) for n in range(PLACES)])
def test_a_search_goes_on_once_there_is_room(place: int, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (disk / "saved.py").write_text(SPACE)
    line = ["--space", "saved.py", "--trials", "6", "--quiet"]
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(DISK_BYTES - (place + 1) * NEEDED_BYTES // PLACES))
    status, errors = called(disk, line)
    assert status in (0, 2)
    assert status == 0 or (errors.startswith("error: ") and errors.count("\n") == 1), errors
    for path in disk.rglob("*.pt"):
        load(path)
    ballast.unlink()
    assert called(disk, line) == (0, "")
    monkeypatch.chdir(disk)
    study = require_study(SearchSettings(study="saved"))
    assert counted(study.trials) == 6
    assert not study.get_trials(states=(TrialState.RUNNING,))
    assert not list(disk.rglob(".*.tmp"))
