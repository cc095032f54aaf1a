"""Checkpoints of a run: seldom enough to cost nothing, often enough to lose little."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cifar import checkpoint
from cifar.candidate import Candidate
from cifar.data.prepare import prepare
from cifar.data.splits import TrainingSplit, load_training_split
from cifar.networks.resnet import ResNetConfig
from cifar.recipe import Augmentation, Optimizer, Recipe
from cifar.runtime.device import choose_device
from cifar.train import Training
from search.retraining import training_loop
from search.retraining.run_record import Identity, RunRecord
from search.retraining.settings import RetrainSettings
from search.retraining.tensorboard_events import EventFile
from search.retraining.training_loop import CHECKPOINT, train

CPU = choose_device("cpu")
NETWORK = ResNetConfig(blocks=(1, 1, 1), channels=(4, 4, 4), stem=4, num_classes=4, image_size=16)
RECIPE = Recipe(
    batch_size=64,
    optimizer=Optimizer("sgd", lr=0.05),
    augmentation=Augmentation(crop_padding=2),
    ema_decay=0.9,
)
EPOCHS = 8


@pytest.fixture
def split(toy: Path) -> TrainingSplit:
    return load_training_split(prepare(toy), val_size=100)


def training(split: TrainingSplit, recipe: Recipe = RECIPE) -> Training:
    return Training(Candidate(NETWORK, recipe), split, device=CPU, epochs=EPOCHS, seed=0)


def ticking(seconds: float) -> Callable[[], float]:
    """A clock on which every look takes so long; an epoch has one look, and another where it is saved."""
    return itertools.count(0.0, seconds).__next__


def run(what: Training, folder: Path, say: Callable[[str], None], seconds: float) -> list[int]:
    record = RunRecord("a run", Identity("", "", RetrainSettings()), EPOCHS, None, "", "", 300, 100)
    history = train(what, folder, record, say, EventFile(None), "off", clock=ticking(seconds))
    return [epoch.epoch for epoch in history]


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Epochs after which a checkpoint was written."""
    epochs: list[int] = []
    save = training_loop._save

    def recorded(training: Training, *others: object) -> None:
        epochs.append(training.epoch)
        save(training, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(training_loop, "_save", recorded)
    return epochs


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.001, [1, 8]),
        (10.0, [1, 4, 7, 8]),
        (29.0, [1, 3, 5, 7, 8]),
        (30.0, [1, 2, 3, 4, 5, 6, 7, 8]),
        (1000.0, [1, 2, 3, 4, 5, 6, 7, 8]),
    ],
)
def test_checkpoints_are_30_seconds_apart_but_for_the_last(
    split: TrainingSplit, workplace: Path, saved: list[int], seconds: float, expected: list[int]
) -> None:
    assert run(training(split), workplace, lambda _: None, seconds) == list(range(1, EPOCHS + 1))
    assert saved == expected
    assert len(checkpoint.load(workplace / CHECKPOINT)["history"]) == EPOCHS


def test_a_run_that_stops_early_has_a_last_checkpoint_too(
    split: TrainingSplit, workplace: Path, saved: list[int]
) -> None:
    stopping = Recipe(batch_size=64, optimizer=Optimizer("sgd", lr=1e-9), early_stopping=2)
    assert run(training(split, stopping), workplace, lambda _: None, 0.001) == [1, 2, 3]
    assert saved == [1, 3]


@pytest.mark.parametrize("killed_at", [2, 3, 6, 8])
def test_a_run_that_is_killed_goes_on_from_its_last_checkpoint(
    split: TrainingSplit, workplace: Path, killed_at: int
) -> None:
    def killed(line: str) -> None:
        if line.startswith(f"epoch   {killed_at}/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(training(split), workplace, killed, 10.0)
    told: list[str] = []
    continued = training(split)
    assert run(continued, workplace, told.append, 10.0) == list(range(1, EPOCHS + 1))
    assert told[0] == f"continuing after epoch {max(e for e in (1, 4, 7) if e < killed_at)} of {EPOCHS}"
    through = training(split)
    list(through.run())
    expected = through.final_network().state_dict()
    for key, value in continued.final_network().state_dict().items():
        assert torch.equal(value, expected[key]), key


def test_a_run_that_is_killed_after_its_training_trains_no_more(
    split: TrainingSplit, workplace: Path, saved: list[int]
) -> None:
    run(training(split), workplace, lambda _: None, 0.001)
    saved.clear()
    told: list[str] = []
    assert run(training(split), workplace, told.append, 0.001) == list(range(1, EPOCHS + 1))
    assert told == [f"continuing after epoch {EPOCHS} of {EPOCHS}"]
    assert saved == []


def test_the_length_follows_the_time_that_is_left(split: TrainingSplit, tmp_path: Path) -> None:
    said: list[str] = []
    what = training(split, replace(RECIPE, epochs=12.0))
    record = RunRecord("a run", Identity("", "", RetrainSettings(time_budget=9999.0)), EPOCHS, None, "", "", 300, 100)
    history = train(what, tmp_path, record, said.append, EventFile(None), "off", seconds=9999.0)
    assert (len(history), what.total_epochs, what.length) == (12, 12, 12.0)  # no more than the recipe's
    assert "epoch   1/8" in said[0]
    assert "epoch  12/12" in said[-1]
    assert history[-1].lr < 0.05 / what.steps_an_epoch  # the stretched schedule reaches its end
