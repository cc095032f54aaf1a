"""How many workers train most: the rule, and a real measurement."""

from __future__ import annotations

import os

import pytest

import search.planning.workers
from cifar.runtime.device import choose_device
from search.planning.workers import best_number, devices_of_each, measure_workers, threads_of_each
from search.run import parser


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


def test_a_measurement_trains_in_each_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.planning.workers, "numbers_to_try", lambda device: (2,))
    speeds = measure_workers(choose_device("cpu"))
    assert list(speeds) == [2]
    assert speeds[2] > 0


def test_auto_is_an_option() -> None:
    assert parser().parse_args(["--workers", "auto"]).workers is None
    assert parser().parse_args(["--workers", "3"]).workers == 3
    with pytest.raises(SystemExit):
        parser().parse_args(["--workers", "0"])


def test_workers_take_the_visible_gpus_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert devices_of_each("auto", 3) == ["cuda:0", "cuda:1", "cuda:0"]
    assert devices_of_each("cuda:1", 2) == ["cuda:1", "cuda:1"]
    assert devices_of_each("cpu", 2) == ["cpu", "cpu"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert devices_of_each("auto", 2) == ["auto", "auto"]
