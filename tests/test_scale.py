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
from benchmarks.search_quality import Table, TableSpace
from search.planning.planner import plan_without_images
from search.settings import SearchSettings
from search.study.trials import reached


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


def test_decisions_are_timed_in_a_study_as_promotion_leaves_it(path: Path) -> None:
    taken = scale.decisions(path, 200)
    assert taken.size == 200
    assert min(taken.decision_ms, taken.proposal_ms) > 0
    space = TableSpace(Table(path))
    plan = plan_without_images(SearchSettings(space="table"), space)
    trials = scale.study_of(space, plan, 200).trials
    assert [sum(reached(t) >= rung for t in trials) for rung in plan.rungs] == [136, 68, 34, 17]
    assert sum(not reached(t) for t in trials) == scale.RUNNING


def test_tables_and_plot_show_every_number_of_workers() -> None:
    rows: list[dict[str, Any]] = [
        {"workers": workers, "replicate": again, "utilisation": used, "trials": trials, "regret": regret}
        for again in (True, False)
        for workers, used, trials, regret in ((1, 1.0, 10, 0.5), (64, 0.9, 640, 0.1), (64, 0.8, 660, 0.3))
    ]
    rows += [{"size": size, "decision_ms": size / 50, "proposal_ms": size / 10} for size in (1000, 100)]
    lines = scale.table(rows).splitlines()
    assert lines[3] == "| 64 | 650 | 85.0% | 0.200 |"
    assert lines[-2:] == ["| 100 | 2.0 ms | 10.0 ms |", "| 1,000 | 20.0 ms | 100.0 ms |"]
    picture = ElementTree.fromstring(drawn(rows))
    words = {element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert {"Workers are kept busy", "64", "1,000", "proposal"} <= words
    assert len(list(picture.iter("{http://www.w3.org/2000/svg}circle"))) == 2 + 2 + 4


def test_what_is_there_is_not_done_again(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, plot = tmp_path / "scale.jsonl", tmp_path / "scale.svg"
    line = ["scale", "--table", str(path), "--workers", "1", "--seeds", "1", "--sizes", "100", "--jobs", "1"]
    monkeypatch.setattr("sys.argv", [*line, "--out", str(out), "--plot", str(plot)])
    assert scale.main() == scale.main() == 0
    assert [row.get("replicate", row.get("size")) for row in read(out)] == [True, False, 100]
    assert plot.exists()
