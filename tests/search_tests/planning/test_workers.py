"""How many workers train most: the rule, and a real measurement."""

from __future__ import annotations

import os

import pytest
import torch

import search.planning.workers
from cifar.runtime.device import Device, choose_device
from search.planning.speed import Speed, speed_of_each
from search.planning.workers import best_number, devices_of_each, measure_workers, threads_of_each, usual_number
from search.reporting.screen.terminal import QuietDisplay
from search.run import parser
from search.session import _with_workers
from search.settings import SearchSettings
from spaces.base import Problem
from spaces.registry import load_space


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [({1: 100.0}, 1), ({1: 100.0, 2: 120.0}, 2), ({1: 100.0, 2: 103.0}, 1), ({1: 100.0, 2: 90.0, 4: 130.0}, 4)],
)
def test_more_workers_must_be_worth_it(speeds: dict[int, float], expected: int) -> None:
    assert best_number(speeds) == expected


def test_threads_are_shared_out() -> None:
    cores = os.cpu_count() or 1
    assert threads_of_each(1) == cores
    assert threads_of_each(2 * cores) == 1


@pytest.mark.slow
def test_a_measurement_trains_in_each_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.planning.workers, "numbers_to_try", lambda device: (2,))
    speeds = measure_workers(choose_device("cpu"))
    assert list(speeds) == [2]
    assert speeds[2] > 0


def test_auto_is_an_option() -> None:
    assert parser().parse_args(["--workers", "auto"]).workers == "measured"
    assert parser().parse_args(["--workers", "3"]).workers == 3
    assert parser().parse_args([]).workers == "usual"
    with pytest.raises(SystemExit):
        parser().parse_args(["--workers", "0"])


@pytest.mark.parametrize(
    ("kind", "count", "seconds", "expected"),
    [("cpu", 1, 900.0, 4), ("cpu", 1, 500.0, 1), ("cpu", 1, None, 1), ("cuda", 1, 900.0, 1), ("cuda", 3, 100.0, 3)],
)
def test_long_searches_on_a_cpu_have_a_worker_a_core(
    kind: str, count: int, seconds: float | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr("search.planning.workers._memory", lambda: 64 * 2**30)
    assert usual_number(Device(torch.device(kind), None), count, seconds) == expected


def test_workers_find_room_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    for gigabytes, expected in ((16, 4), (2, 1), (0, 1)):
        monkeypatch.setattr("search.planning.workers._memory", lambda held=gigabytes: held * 2**30)
        assert usual_number(choose_device("cpu"), 1, 900.0) == expected


def test_the_speed_of_workers_that_share_a_gpu_is_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def measured(device: Device) -> Speed:
        threads.append(torch.get_num_threads())
        return Speed(((1_000_000, 1e-4),))

    before = torch.get_num_threads()
    monkeypatch.setattr("search.planning.speed.measure_speed", measured)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    shared = speed_of_each(SearchSettings(workers=4), Device(torch.device("cuda"), None))
    assert shared == Speed(((1_000_000, 2e-4),))
    assert speed_of_each(SearchSettings(workers=10**6), choose_device("cpu")) == Speed(((1_000_000, 1e-4),))
    assert threads[-1] == 1
    assert torch.get_num_threads() == before


def test_workers_take_the_visible_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert devices_of_each("auto", 3) == ["cuda:0", "cuda:1", "cuda:0"]
    assert devices_of_each("cuda:1", 2) == ["cuda:1", "cuda:1"]
    assert devices_of_each("cpu", 2) == ["cpu", "cpu"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert devices_of_each("auto", 2) == ["auto", "auto"]


class Said(QuietDisplay):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.parametrize(
    ("gpus", "asked", "expected"), [(0, "auto", 2), (1, "auto", 2), (4, "auto", 8), (4, "cuda:1", 2), (4, "cpu", 2)]
)
def test_auto_gives_every_gpu_as_many_workers_as_train_most_on_one(
    gpus: int, asked: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr("search.session.measure_workers", lambda device: {1: 100.0, 2: 150.0})
    settings, said = SearchSettings(device=asked, worker_choice="measured"), Said()
    space = load_space(settings.space, Problem())
    chosen = _with_workers(settings, space, choose_device("cpu"), said)
    assert chosen.workers == expected
    assert len(devices_of_each(asked, expected)) == expected
    assert (f"on each of {gpus} GPUs" in said.lines[-1]) == (expected == 8)


def test_gpus_that_would_be_idle_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    space = load_space("resnet_budget30k", Problem())
    for workers, told in ((1, True), (2, True), (3, False)):
        said = Said()
        settings = SearchSettings(workers=workers)
        assert _with_workers(settings, space, choose_device("cpu"), said) == settings
        assert bool(said.lines) == told
        if told:
            assert said.lines == [f"workers     {workers} on 3 GPUs; --workers auto or 3 uses all of them"]


def test_a_worker_makes_its_gpu_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[torch.device] = []
    monkeypatch.setattr("torch.backends.cudnn.benchmark", False)
    monkeypatch.setattr("torch.cuda.set_device", chosen.append)
    for name in ("cuda", "cuda:1"):
        Device(torch.device(name), None).prepare_to_train()
    assert chosen == [torch.device("cuda:1")]
