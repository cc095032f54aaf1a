"""Searches of two objectives on recorded curves: their measure, and its table in the documents."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from optuna.trial import FixedTrial

from benchmarks.resumable import read
from benchmarks.search_quality import Table
from benchmarks.two_objectives import FLOOR, METHODS, TRUE_HYPERVOLUME, SizedSpace, hypervolume, markdown, missing
from search.study.fronts import Point

ROOT = Path(__file__).parents[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A table of 60 configurations, 8 epochs each, one of which diverged."""
    rng = np.random.default_rng(0)
    rates = 10 ** rng.uniform(-4, 0, (60, 1))
    final = 1 + np.abs(np.log10(rates) + 2)  # (60, 1)
    losses = final + np.linspace(1, 0, 8)
    losses[7, 3:] = np.nan
    np.savez(tmp_path / "table.npz", hyperparameters=rates, names=np.array(["rate"]), valid_loss=losses)
    return tmp_path / "table.npz"


def test_the_true_front_misses_nothing() -> None:
    shares = np.linspace(0, 1, 2001)
    front = [Point(10 ** (4 + 2 * share), 1 / (1 + (1 - share) ** 2)) for share in shares]
    assert hypervolume(front) == pytest.approx(TRUE_HYPERVOLUME, abs=1e-3)


def test_a_hypervolume_by_hand() -> None:
    middle, largest, useless = Point(10**5, FLOOR + 0.25), Point(10**6, 1.0), Point(10**4, FLOOR / 2)
    assert hypervolume([middle]) == pytest.approx(0.5 * 0.25)
    assert hypervolume([largest, useless, Point(10**5, FLOOR + 0.2), middle]) == pytest.approx(0.5 * 0.25)
    assert hypervolume([Point(10**4, 1.0)]) == pytest.approx(1 - FLOOR)
    assert hypervolume([]) == 0


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_every_size_reaches_the_best_configuration(path: Path, share: float) -> None:
    table = Table(path)
    space, best = SizedSpace(table), table.coordinates[int(np.nanargmin(table.losses[:, -1]))]
    rate = best[0] ** (1 / 2 ** (1 - 2 * share))
    candidate = space.suggest(FixedTrial({"size": share, "rate": rate}))
    assert candidate.cost is not None
    assert math.log10(candidate.cost.parameters) == pytest.approx(4 + 2 * share, abs=1e-3)
    assert space.accuracy(candidate, 8) == pytest.approx(1 / (1 + (1 - share) ** 2))
    assert space.accuracy(candidate, 1) < space.accuracy(candidate, 8)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_a_front(method: str, path: Path) -> None:
    row = missing(path, method, 6, seed=0)
    assert row["complete"] >= 1
    assert 0 <= row["missing"] < 1
    assert row == missing(path, method, 6, seed=0)


def test_the_documents_have_the_table_of_the_file() -> None:
    rows = read(ROOT / "benchmarks/results/two_objectives.jsonl")
    assert {row["method"] for row in rows} == METHODS.keys()
    assert markdown(rows).strip() in (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
