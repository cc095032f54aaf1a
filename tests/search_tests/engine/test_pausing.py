"""A trial that is paused and resumed ends as one that was trained in one go, to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.trial import TrialState

from cifar.candidate import Candidate
from cifar.checkpoint import load
from cifar.data.prepare import prepare
from cifar.data.splits import TrainingSplit, load_training_split
from cifar.networks.resnet import ResNetConfig
from cifar.recipe import Augmentation, Optimizer, Recipe, Schedule
from cifar.runtime.device import choose_device
from search.engine.events import TrialNoted
from search.session import run_search
from search.settings import SearchSettings
from search.study.attributes import CANDIDATE, CONTINUES, PAUSED
from search.study.trials import reached
from spaces.base import EpochReport, TrialContext, train_on_images
from tests.search_tests.logged_space import Watched

EPOCHS = 4
NETWORK = ResNetConfig(blocks=(1, 1, 1), channels=(4, 8, 8), stem=4, dropout=0.2).with_classes(4, 16)
SGD = Optimizer(name="sgd", lr=0.1, momentum=0.9, nesterov=True)
ADAMW = Optimizer(name="adamw", lr=3e-3, weight_decay=0.05)
ONE_CYCLE = Schedule(name="one_cycle", warmup_epochs=1)
RECIPES = {
    "sgd": Recipe(epochs=EPOCHS, batch_size=32, optimizer=SGD, schedule=ONE_CYCLE),
    "adamw": Recipe(epochs=EPOCHS, batch_size=32, optimizer=ADAMW, label_smoothing=0.1),
    "sgd, average": Recipe(epochs=EPOCHS, batch_size=32, optimizer=SGD, ema_decay=0.9),
    "adamw, average, mixing": Recipe(
        epochs=EPOCHS, batch_size=32, optimizer=ADAMW, ema_decay=0.9, augmentation=Augmentation(mixup=0.3, cutmix=1.0)
    ),
    "sgd, best": Recipe(
        epochs=EPOCHS,
        batch_size=32,
        optimizer=SGD,
        keep="best",
        augmentation=Augmentation(randaugment_ops=1, erasing=0.3, mixup=0.2),
    ),
}


@pytest.fixture(autouse=True)
def deterministic() -> Iterator[None]:
    """Equal seeds give equal weights; as before afterwards."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture
def split(toy: Path) -> TrainingSplit:
    return load_training_split(prepare(str(toy)), val_size=60, train_size=100, val_limit=60)


def context(split: TrainingSplit, schedule_ends: tuple[int, ...] = ()) -> TrialContext:
    device = choose_device("cpu")
    return TrialContext(fidelity=EPOCHS, seed=5, device=device, split=split, schedule_ends=schedule_ends)


def figures(report: EpochReport) -> tuple[int, float, dict[str, float]]:
    """What an epoch gave, except how long it took."""
    return report.epoch, report.value, {k: v for k, v in report.details.items() if k != "seconds"}


def assert_same(left: Any, right: Any) -> None:
    """Equal bit by bit."""
    assert type(left) is type(right)
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right)
    elif isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    else:
        assert left == right


@pytest.mark.parametrize("schedule_ends", [(), (1, 2, 4)])
@pytest.mark.parametrize("name", RECIPES)
def test_pausing_after_every_epoch_changes_nothing(
    name: str, schedule_ends: tuple[int, ...], split: TrainingSplit, workplace: Path
) -> None:
    candidate = Candidate(NETWORK, RECIPES[name])
    whole = []
    for report in train_on_images(candidate, context(split, schedule_ends)):
        whole.append(figures(report))
        assert report.save is not None
        report.save(workplace / "whole.pt")
    assert [epoch for epoch, _, _ in whole] == [1, 2, 3, 4]
    parts, given = [], context(split, schedule_ends)
    for epoch in range(1, EPOCHS + 1):
        torch.rand(epoch)  # what is drawn between two jobs does not matter
        report = next(iter(train_on_images(candidate, given)))
        parts.append(figures(report))
        assert report.save is not None
        path = workplace / f"{epoch}.pt"
        report.save(path)
        given = replace(context(split, schedule_ends), epochs_done=epoch, checkpoint=path)
    assert parts == whole
    assert_same(load(workplace / "4.pt"), load(workplace / "whole.pt"))
    other = next(iter(train_on_images(candidate, replace(context(split, schedule_ends), seed=6))))
    assert figures(other) != whole[0]  # the comparison can fail


def test_schedules_come_to_their_end_at_each_rung(split: TrainingSplit) -> None:
    candidate = Candidate(NETWORK, replace(RECIPES["sgd"], augmentation=Augmentation(flip=False)))
    rates = [report.details["lr"] for report in train_on_images(candidate, context(split, (2, 4)))]
    ordinary = [report.details["lr"] for report in train_on_images(candidate, context(split))]
    assert rates[2:] == ordinary[2:]  # from the last rung but one on, it is the schedule stretched over all epochs
    assert rates[0] > rates[1] < rates[2] < max(ordinary)
    assert rates[1] < ordinary[1] / 3


def test_promoted_trials_of_a_search_report_what_one_go_reports(
    toy_search: Callable[..., SearchSettings], toy: Path
) -> None:
    settings = toy_search(max_trials=4, max_epochs=4, train_size=64, deterministic=True)
    study = run_search(settings)
    waiting = [t for t in study.trials if t.state is TrialState.PRUNED and t.user_attrs.get(PAUSED)]
    files = {path.name for path in (settings.folder / "checkpoints").glob("*.pt")}
    assert files == {f"{t.user_attrs['seed']:016x}-{t.user_attrs[PAUSED]}.pt" for t in waiting}
    assert len(waiting) == 2
    study = run_search(replace(settings, epoch_budget=100))  # resumes closed trials, too
    assert sum(CONTINUES in t.user_attrs for t in study.trials) == 2
    assert not list((settings.folder / "checkpoints").glob("*.pt"))
    split = load_training_split(prepare(str(toy)), val_size=100, train_size=64, val_limit=100)
    for trial in study.get_trials(states=(TrialState.COMPLETE,)):
        candidate = Candidate.from_dict(trial.user_attrs[CANDIDATE], where="trial")
        given = TrialContext(4, trial.user_attrs["seed"], choose_device("cpu"), split, schedule_ends=(1, 2, 4))
        whole = {report.epoch: report.value for report in train_on_images(candidate, given)}
        assert trial.intermediate_values == whole
    assert len(study.get_trials(states=(TrialState.COMPLETE,))) == 4


@pytest.mark.parametrize("damage", ["removed", "cut off", "one bit"])
def test_a_trial_whose_checkpoint_is_lost_is_trained_from_the_start(
    damage: str, toy_search: Callable[..., SearchSettings]
) -> None:
    settings = toy_search(max_trials=1, max_epochs=2, epoch_budget=1, train_size=64, deterministic=True)
    study = run_search(settings)
    (path,) = (settings.folder / "checkpoints").glob("*.pt")
    lose(path, damage)
    watched = Watched()
    study = run_search(replace(settings, epoch_budget=None), engine=watched)
    notes = [event.text for event in watched.events if isinstance(event, TrialNoted)]
    assert [note.startswith("its checkpoint is lost: ") for note in notes] == [True]
    first, again = (t for t in study.trials if t.state is not TrialState.WAITING)  # the other warm start is queued
    assert (reached(first), reached(again)) == (1, 2)
    assert again.intermediate_values[1] == first.intermediate_values[1]
    whole = run_search(replace(settings, study="whole", epoch_budget=None))
    assert whole.trials[0].intermediate_values == again.intermediate_values


def lose(path: Path, damage: str) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    if damage == "removed":
        path.unlink()
    elif damage == "cut off":
        path.write_bytes(content[:middle])
    else:
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
