"""The card of the reference recipes, from real runs on toy images."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from search.retrain import main as retrain_main


def test_runs_of_recipes_are_recorded_beside_published_figures(toy: Path) -> None:
    common = ["--recipe", "baseline_cnn", "--data", str(toy), "--device", "cpu", "--val-size", "100", "--epochs", "1"]
    for seed in ("0", "1", "1"):
        retrain_main([*common, "--seed", seed])
    table = pd.read_csv("studies/reference/results.csv")
    assert list(table["run"]) == ["recipe-baseline_cnn-seed0", "recipe-baseline_cnn-seed1"]
    metrics = json.loads(Path("studies/reference/runs/recipe-baseline_cnn-seed0/test_metrics.json").read_text())
    assert table["test_accuracy"][0] == metrics["accuracy"]
    card = Path("studies/reference/README.md").read_text()
    assert card.count("| `baseline_cnn` |") == 2
    assert f"{100 * metrics['accuracy']:.2f} %" in card
    assert "toy.npz" in card
    assert str(toy.parent) not in card


def test_runs_elsewhere_are_not_recorded(toy: Path) -> None:
    options = ["--data", str(toy), "--device", "cpu", "--val-size", "100", "--epochs", "1", "--out", "elsewhere"]
    retrain_main(["--recipe", "resnet_16_32_64", *options])
    assert not Path("studies/reference").exists()
