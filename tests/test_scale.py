"""Searches of recorded curves with many workers, in simulated time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import scale


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty configurations of one hyperparameter, whose losses fall to a level of their own in eight epochs."""
    path = tmp_path_factory.mktemp("table") / "table.npz"
    level = np.random.default_rng(1).uniform(0.1, 1, size=(60, 1))
    arrays = {"hyperparameters": 10**level, "names": np.array(["lr"]), "valid_loss": level + 1 / np.arange(1, 9)}
    np.savez(path, allow_pickle=False, **arrays)
    return path


@pytest.mark.parametrize("workers", [1, 6])
def test_a_search_keeps_its_workers_busy(path: Path, workers: int) -> None:
    outcome = scale.searched(path, workers, seed=0, spread=0.4)
    assert outcome.workers == workers
    assert 0.8 < outcome.utilisation <= 1
    assert outcome.trials > 12 * workers
    assert 0 <= outcome.regret < 0.5


def test_decisions_are_timed_at_each_size(path: Path) -> None:
    seconds = scale.decisions(path, (5, 20), spread=0.4)
    assert list(seconds) == [5, 20]
    assert all(taken > 0 for taken in seconds.values())


def test_tables_and_plot_show_every_number_of_workers(tmp_path: Path) -> None:
    outcomes = [scale.Outcome(1, 1.0, 10, 0.5), scale.Outcome(64, 0.9, 640, 0.1), scale.Outcome(64, 0.8, 660, 0.3)]
    lines = scale.table(outcomes, {100: 0.002}).splitlines()
    assert lines[3] == "| 64 | 85.0% | 650 | 0.200 |"
    assert lines[-1] == "| 100 | 2.0 ms |"
    scale.drawn(outcomes, tmp_path / "plot.html")
    assert "Workers are kept busy" in (tmp_path / "plot.html").read_text()
