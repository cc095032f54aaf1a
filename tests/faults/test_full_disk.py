"""A disk that fills up: one line that says so, no half-written file, and the search goes on once there is room."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

import pytest
from optuna.trial import TrialState

import search.report
import search.run
from cifar.checkpoint import load
from cifar.data.prepare import prepare
from cifar.data.toy import toy_npz
from cifar.errors import DataError
from cifar.networks.kernels import load_kernel
from search.cli import run_command
from search.settings import SearchSettings
from search.study.study import require_study
from search.study.trials import counted
from tests.faults.processes import ended, forking

Main = Callable[[Sequence[str] | None], None]
PLACES = 20
DISK_BYTES = 16 * 2**20
"""Size of the disk, most of which is taken at first."""
NEEDED_BYTES = 8 * 2**20
"""A little more than what the search needs, checkpoints, database and its log."""
ROOM_BYTES = 32 * 2**10
"""What a report's tables need, but not its page."""
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


def call(folder: Path, line: list[str], main: Main, told: Connection[tuple[int, str], object]) -> None:
    """A command in a folder."""
    os.chdir(folder)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    errors = folder.parent / "errors"
    with errors.open("w") as file, contextlib.redirect_stderr(file):
        status = run_command(main, line)
    told.send((status, errors.read_text()))


def called(folder: Path, line: list[str], main: Main = search.run.main) -> tuple[int, str]:
    """Exit status and error messages."""
    ours, theirs = Pipe(duplex=False)
    process = forking().Process(target=call, args=(folder, line, main, theirs))
    process.start()
    theirs.close()
    assert ended(process) == 0
    answer: tuple[int, str] = ours.recv()
    return answer


def fill(disk: Path) -> Path:
    """Takes all room of the disk; the file that does."""
    with (disk / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return disk / "ballast"


def files(disk: Path) -> list[Path]:
    return [path for path in disk.rglob("*") if path.is_file() and path.name != "ballast"]


def test_images_are_decoded_once_there_is_room(disk: Path) -> None:
    source = str(toy_npz(disk.parent / "toy.npz", train=200, test=50, size=16))
    ballast = fill(disk)
    with pytest.raises(DataError, match="No space left on device"):
        prepare(source, cache=disk / "cache")
    assert not files(disk)
    ballast.unlink()
    assert prepare(source, cache=disk / "cache").train_count == 200


@pytest.mark.skipif(not sys.platform.startswith("linux") or shutil.which("cc") is None, reason="needs a C compiler")
def test_kernels_are_compiled_once_there_is_room(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = disk.parent / "small.c"
    source.write_text("int answer(void) { return 42; }")
    monkeypatch.setenv("XDG_CACHE_HOME", str(disk / "cache"))
    ballast = fill(disk)
    assert load_kernel(source, ()) is None
    assert not files(disk)
    ballast.unlink()
    kernel = load_kernel(source, ())
    assert kernel is not None
    assert kernel.answer() == 42


@pytest.mark.slow
def test_a_report_is_written_once_there_is_room(disk: Path) -> None:
    (disk / "saved.py").write_text(SPACE)
    assert called(disk, ["--space", "saved.py", "--trials", "6", "--quiet"]) == (0, "")
    before, ballast = set(files(disk)), fill(disk)
    os.truncate(ballast, ballast.stat().st_size - ROOM_BYTES)
    status, errors = called(disk, ["--study", "saved"], search.report.main)
    assert (status, errors[:7], errors.count("\n")) == (2, "error: ", 1)
    fitted = {path: path.read_bytes() for path in set(files(disk)) - before if not path.name.startswith("study.db-")}
    ballast.unlink()
    assert called(disk, ["--study", "saved"], search.report.main)[0] == 0
    assert {path.name for path in fitted} >= {"report.md", "curves.csv"}
    assert fitted == {path: path.read_bytes() for path in fitted}


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
