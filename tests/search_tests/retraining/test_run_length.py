"""How many epochs fit into a time budget where the images grow during training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cifar.candidate import Candidate
from cifar.data.prepare import prepare
from cifar.data.splits import TrainingSplit, load_training_split
from cifar.data.toy import toy_npz
from cifar.networks.resnet import ResNetConfig
from cifar.recipe import Recipe
from cifar.resizing import training_side
from cifar.runtime.device import choose_device
from search.retraining import run_length
from search.retraining.settings import RetrainSettings

PLAIN = Candidate(ResNetConfig(num_classes=4, image_size=16), Recipe(epochs=1000.0, batch_size=32))
SECONDS = {16: 1.0, 8: 0.25}  # an image, by side, on this made-up machine


@pytest.fixture
def split(tmp_path: Path) -> TrainingSplit:
    return load_training_split(prepare(toy_npz(tmp_path / "toy.npz", train=132, size=16), cache=tmp_path), val_size=32)


@pytest.mark.parametrize(
    ("start", "after", "mean"), [(1.0, 0.5, 1.0), (0.5, 0.0, 1.0), (0.5, 0.6, 0.55), (0.5, 1.0, 0.25)]
)
def test_the_budget_is_planned_at_the_mean_speed_of_small_and_full_images(
    start: float, after: float, mean: float, split: TrainingSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def image_seconds(recipe: Recipe, *_: Any) -> tuple[float, None]:
        (seconds,) = {SECONDS[training_side(recipe, 16, progress)] for progress in (0.0, 0.3, 0.99)}
        return seconds, None  # a run that is timed has images of one size

    monkeypatch.setattr(run_length, "_image_seconds", image_seconds)
    monkeypatch.setattr(run_length, "_validation_seconds", lambda *_: 0.0)
    growing = replace(PLAIN, recipe=replace(PLAIN.recipe, resolution_start=start, full_resolution_after=after))
    settings = RetrainSettings(time_budget=1000.0)
    epochs = run_length.planned_epochs(growing, split, settings, choose_device("cpu"), say=lambda _: None)
    assert epochs == pytest.approx(run_length.SAFETY * 1000 / (100 * mean), abs=0.01)


@pytest.mark.usefixtures("one_thread")
def test_real_runs_of_both_sizes_are_timed(split: TrainingSplit) -> None:
    growing = replace(PLAIN, recipe=replace(PLAIN.recipe, resolution_start=0.5))
    said: list[str] = []
    settings = RetrainSettings(time_budget=60.0)
    epochs = run_length.planned_epochs(growing, split, settings, choose_device("cpu"), said.append)
    assert 0 < epochs <= 1000
    assert "epochs fit into" in said[0]
