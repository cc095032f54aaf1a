"""`search.clean` removes what no trial needs, and never more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import search.clean
from cifar.files import write_json
from search.cli import run_command
from search.session import run_search
from search.settings import SearchSettings
from search.study.attributes import CHECKPOINT_FOLDER, PAUSED, SEED
from search.study.checkpoints import MARK, checkpoint_of
from search.study.leftovers import LEFT_BEHIND
from search.study.trials import is_paused
from tests.search_tests.logged_space import logged_space


@pytest.fixture
def folder(workplace: Path) -> Path:
    """Checkpoints of a study with paused trials: their own, earlier ones, those of trials that are gone, and others."""
    settings = SearchSettings(space=logged_space(workplace), max_trials=4, epoch_budget=6)
    study = run_search(settings)
    found = settings.folder / "checkpoints"
    write_json(found / MARK, {"id": "ours"})
    study.set_user_attr(CHECKPOINT_FOLDER, {"folder": str(found), "id": "ours"})
    paused = [t for t in study.trials if is_paused(t)]
    assert paused
    for trial in paused:
        for epoch in (trial.user_attrs[PAUSED], 99):
            checkpoint_of(found, trial.user_attrs[SEED], epoch).write_bytes(b"state")
    checkpoint_of(found, 7, 3).write_bytes(b"of nobody")
    for name in ("notes.txt", "weights.pt", "0.pt"):
        (found / name).write_text("mine")
    for name, age in ((f".{7:016x}-3.pt.{0:012x}.tmp", 2 * LEFT_BEHIND), (f".{7:016x}-4.pt.{0:012x}.tmp", 0)):
        (found / name).write_text("half")
        at = (found / name).stat().st_mtime - age
        os.utime(found / name, (at, at))
    return found


def test_only_what_nobody_needs_is_removed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name for path in folder.iterdir()}
    left = {name for name in before if name.endswith("-99.pt")} | {f"{7:016x}-3.pt", f".{7:016x}-3.pt.{0:012x}.tmp"}
    size = sum((folder / name).stat().st_size for name in left)
    assert run_command(search.clean.main, ["--study", "logged", "--dry-run"]) == 0
    assert {path.name for path in folder.iterdir()} == before
    assert f"would free {size} B: {len(left)} checkpoints in " in capsys.readouterr().out
    assert run_command(search.clean.main, ["--study", "logged"]) == 0
    assert {path.name for path in folder.iterdir()} == before - left
    assert f"freed {size} B: {len(left)} checkpoints in " in capsys.readouterr().out
    assert run_command(search.clean.main, ["--study", "logged"]) == 0
    assert "freed 0 B: 0 checkpoints" in capsys.readouterr().out


def test_the_next_search_removes_what_a_killed_one_left(folder: Path) -> None:
    run_search(SearchSettings(space="logged.py", max_trials=4, epoch_budget=1))
    assert not [path for path in folder.iterdir() if path.name.endswith("-99.pt") or path.name == f"{7:016x}-3.pt"]
    assert (folder / "notes.txt").exists()


def test_a_folder_of_another_study_is_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(folder / MARK, {"id": "another's"})
    before = set(folder.iterdir())
    assert run_command(search.clean.main, ["--study", "logged"]) == 0
    assert set(folder.iterdir()) == before


def test_a_study_that_does_not_exist_is_told(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(search.clean.main, ["--study", "none"]) == 2
    assert "the study must exist" in capsys.readouterr().err
