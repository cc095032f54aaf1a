"""How many epochs fit into a time budget where the images grow during training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cifar.candidate import Candidate
from cifar.data.prepare import prepare
from cifar.data.splits import TrainingSplit, load_training_split
from cifar.data.toy import toy_npz
from cifar.networks.resnet import ResNetConfig
from cifar.recipe import Recipe
from cifar.resizing import training_side
from cifar.runtime.device import choose_device
from cifar.train import EpochResult, Training
from search.retraining import run_length
from search.retraining.settings import RetrainSettings

SHARES = st.floats(0.0, 1.0)
RATIOS = st.floats(0.05, 1.0)

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


@given(st.floats(0.0, 100.0), st.floats(0.01, 100.0), SHARES, RATIOS)
def test_the_rest_of_a_refitted_run_costs_what_is_left(done: float, left: float, share: float, ratio: float) -> None:
    assume(share * ratio + 1 - share > 0.01)
    length = run_length.affordable_epochs(done, left, share, ratio)
    small = max(0.0, share * length - done)
    assert ratio * small + (length - done - small) == pytest.approx(left, rel=1e-6, abs=1e-6)


@given(st.integers(1, 40), SHARES, RATIOS)
def test_a_steady_run_keeps_its_length(epochs: int, share: float, ratio: float) -> None:
    costs = [run_length._work(epoch, epochs, share, ratio) for epoch in range(1, epochs + 1)]
    for done in range(1, epochs):
        length = run_length.affordable_epochs(done, sum(costs[done:]), share, ratio)
        assert length == pytest.approx(epochs)


def result(epoch: int, seconds: float) -> EpochResult:
    return EpochResult(epoch, 1.0, 0.5, 1.0, 0.5, 0.1, 100, seconds)


def refitted(split: TrainingSplit, seconds: list[float], left: float, most: float = 1000.0) -> float:
    """Length of a run that was planned to have 10 epochs, after epochs that took so long."""
    training = Training(PLAIN, split, device=choose_device("cpu"), epochs=10, seed=0)
    training.epoch = len(seconds)
    history = [result(epoch, took) for epoch, took in enumerate(seconds, 1)]
    return run_length.refitted_epochs(training, history, left, most)


def test_a_run_gets_the_length_that_its_latest_epochs_allow(split: TrainingSplit) -> None:
    assert refitted(split, [9.0], left=30.0) == 10  # the first epoch's seconds are no measure
    assert refitted(split, [9.0, 2.0, 3.0, 2.0], left=30.0) == 4 + 15
    assert refitted(split, [9.0, 2.0, 3.0, 2.0], left=30.0, most=12.0) == 12
    assert refitted(split, [9.0, *[1.0] * 5, *[4.0] * 5], left=8.0) == 11 + 2
