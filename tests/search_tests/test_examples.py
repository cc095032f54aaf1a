"""The documented examples of own spaces run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from search.retrain import main as retrain_main
from search.session import run_search
from search.settings import SearchSettings
from search.study.trials import counted

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def test_own_network(toy: Path) -> None:
    space = str(EXAMPLES / "own_network.py")
    settings = SearchSettings(space=space, data=str(toy), max_trials=3, max_epochs=2, val_size=100, device="cpu")
    study = run_search(settings)
    assert counted(study.trials) == 3
    assert study.best_trial.user_attrs["parameters"] <= 20_000
    retrain_main(["--study", "own_network", "--space", space, "--epochs", "1", "--device", "cpu"])
    assert list(Path("studies/own_network/runs").glob("*/weights.pt"))


def test_recorded_curves(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    final = rng.uniform(0.5, 2.0, size=(50, 1))
    curves = final + np.exp(-np.arange(20) / 5.0)
    curves[7, 3:] = np.nan
    np.savez(workplace / "table.npz", hyperparameters=rng.uniform(size=(50, 2)), valid_loss=curves.astype("float32"))
    monkeypatch.setenv("CURVES", str(workplace / "table.npz"))
    study = run_search(SearchSettings(space=str(EXAMPLES / "recorded_curves.py"), max_trials=20))
    assert counted(study.trials) == 20
    assert study.best_value <= np.nanmedian(curves[:, -1])
