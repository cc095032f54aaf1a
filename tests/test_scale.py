"""Searches of recorded curves with many workers, in simulated time."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks import scale
from benchmarks.resumable import read
from benchmarks.scale_plot import drawn


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
    assert outcome.trials > 2 * workers
    assert 0 <= outcome.regret < 0.5


def test_decisions_are_timed_at_each_size(path: Path) -> None:
    taken = scale.decisions(path, (5, 40), spread=0.4)
    assert [t.size for t in taken] == [5, 40]
    assert all(t.decision_ms > 0 and t.proposal_ms > 0 for t in taken)


def test_tables_and_plot_show_every_number_of_workers() -> None:
    rows: list[dict[str, Any]] = [
        {"workers": workers, "utilisation": used, "trials": trials, "regret": regret}
        for workers, used, trials, regret in ((1, 1.0, 10, 0.5), (64, 0.9, 640, 0.1), (64, 0.8, 660, 0.3))
    ]
    rows += [{"size": size, "decision_ms": size / 50, "proposal_ms": size / 10} for size in (1000, 100)]
    lines = scale.table(rows).splitlines()
    assert lines[3] == "| 64 | 2 | 85.0% | 650 | 0.200 |"
    assert lines[-2:] == ["| 100 | 2.0 ms | 10.0 ms |", "| 1,000 | 20.0 ms | 100.0 ms |"]
    picture = ElementTree.fromstring(drawn(rows))
    words = {element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {"Workers are kept busy", "64", "1,000", "proposal"} <= words
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}circle"))) == 2 + 2 + 4


def test_what_is_there_is_not_done_again(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, plot = tmp_path / "scale.jsonl", tmp_path / "scale.svg"
    line = ["scale", "--table", str(path), "--workers", "1", "--seeds", "1", "--sizes", "5", "--jobs", "1"]
    monkeypatch.setattr("sys.argv", [*line, "--out", str(out), "--plot", str(plot)])
    assert scale.main() == scale.main() == 0
    assert [set(row) & {"workers", "size"} for row in read(out)] == [{"workers"}, {"size"}]
    assert plot.exists()
