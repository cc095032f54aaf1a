"""What a worker does once, however many jobs it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cifar.compilation import RECORD_FROM
from cifar.data import images
from cifar.data.prepare import prepare
from cifar.runtime.device import Device
from cifar.train import Training
from search.engine import job_runner
from search.engine.job_runner import WorkerSetup
from search.planning.plan import Plan
from search.session import run_search
from search.settings import SearchSettings
from search.study.trials import reached
from spaces.base import Problem


def test_a_worker_counts_its_images_once(
    toy_search: Callable[..., SearchSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    count = images.channel_moments

    def recorded(given: Tensor) -> tuple[images.Channels, images.Channels]:
        counted.append(len(given))
        return count(given)

    monkeypatch.setattr(images, "channel_moments", recorded)
    study = run_search(toy_search(max_trials=4, max_epochs=2))
    assert sum(reached(trial) > 0 for trial in study.trials) == 4
    assert counted.count(300) == 2  # the worker's training images, and at the end those of the models that are kept


def test_a_job_is_made_quicker_once_by_what_is_left_of_it(
    toy_search: Callable[..., SearchSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, float]] = []

    def recorded(training: Training, seconds_left: float) -> None:
        asked.append((training.epoch, seconds_left))

    monkeypatch.setattr(Training, "compile_if_worth", recorded)
    study = run_search(toy_search(max_trials=2, max_epochs=4, min_epochs=2, eta=2))
    assert [reached(trial) for trial in study.trials if reached(trial)] == [4, 4]
    assert sorted(epoch for epoch, _ in asked) == [1, 1, 3, 3]  # both trials to 2 epochs, then to 4
    assert all(left > 0 for _, left in asked)


def test_a_trial_that_cannot_be_made_quicker_says_so_and_trains(
    toy_search: Callable[..., SearchSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECORD_FROM, "cpu", 0.0)
    torch.use_deterministic_algorithms(False)
    with pytest.warns(UserWarning, match="a trial trains on as it is: not compiled.*recording needs CUDA"):
        study = run_search(toy_search(max_trials=1, max_epochs=2, min_epochs=2))
    assert [reached(trial) for trial in study.trials if reached(trial)] == [2]


def test_a_worker_moves_its_images_to_the_device_once(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = Device(torch.device("meta"), None)  # a device that every machine has
    monkeypatch.setattr(job_runner, "choose_device", lambda _: elsewhere)
    plan = Plan(
        min_epochs=1,
        max_epochs=2,
        eta=2,
        train_size=300,
        val_size=100,
        val_limit=100,
        param_budget=30_000,
        mac_budget=None,
        image_size=16,
    )
    problem = Problem(num_classes=4, image_size=16)
    runner = WorkerSetup("resnet_budget30k", problem, plan, prepare(str(toy)), "meta", False).runner()
    assert runner.split is not None
    for part in (runner.split.train, runner.split.val):
        assert part.images.device == part.labels.device == elsewhere.torch_device
        assert part.to(elsewhere.torch_device) is part
