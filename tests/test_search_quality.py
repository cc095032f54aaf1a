"""The benchmark of the engine's choices: what repeats cost, and results that are kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import search_quality
from benchmarks.search_quality import RUN, Table, regrets

ROWS, EPOCHS = 6, 4


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Six configurations, of which the first is the best at every epoch."""
    losses = np.linspace(1, 2, ROWS)[:, None] / np.arange(1, EPOCHS + 1)
    path = tmp_path / "few.npz"
    places = np.logspace(0, 1, ROWS)[:, None]
    np.savez(path, hyperparameters=places, names=np.array(["x"]), valid_loss=losses)
    return path


@pytest.mark.parametrize("method", ["random", "tpe"])
def test_repeats_cost_a_baseline_nothing(method: str, table: Path) -> None:
    assert [Table(table).regret(RUN[method](Table(table), ROWS, seed)) for seed in range(5)] == [0.0] * 5


@pytest.mark.parametrize("method", ["random_hyperband", "tpe_hyperband"])
def test_a_table_that_was_trained_in_full_ends_a_baseline(method: str, table: Path) -> None:
    assert RUN[method](Table(table), 10 * ROWS, 0) is not None


def test_results_are_kept_and_not_done_again(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "runs.jsonl"
    runs = [(table, "random", 2, seed) for seed in range(3)]
    first = regrets(runs[:2], 1, out)
    kept = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["seed"]: row["regret"] for row in kept} == pytest.approx({run[3]: first[run] for run in first})
    done: list[int] = []
    monkeypatch.setattr(search_quality, "ProcessPoolExecutor", lambda jobs: _Inline(done))
    again = regrets(runs, 1, out)
    assert done == [2]
    assert again.keys() == set(runs)


class _Inline:
    """Runs in this process what is submitted, and notes its seeds."""

    def __init__(self, done: list[int]) -> None:
        self.done = done

    def __enter__(self) -> _Inline:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def submit(self, function: object, run: search_quality.Run) -> object:
        from concurrent.futures import Future

        self.done.append(run[3])
        future: Future[float] = Future()
        future.set_result(search_quality.regret(run))
        return future
