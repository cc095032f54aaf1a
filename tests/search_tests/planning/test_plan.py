"""Plans: what the user says stands, the rest fits the machine and the time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifar.data.prepare import PreparedData
from cifar.networks.resnet import REFERENCE_RESNET
from cifar.runtime.device import choose_device
from search.planning.description import describe
from search.planning.forecast import forecast
from search.planning.planner import make_plan
from search.planning.speed import Speed
from search.planning.usual_network import macs_at, parameters_at
from search.settings import SearchSettings, StudyError

CIFAR = PreparedData(Path("none"), "somewhere", "0", tuple("abcdefghij"), 50_000, 10_000, 32)
LAPTOP = Speed(((7_000_000, 1 / 1500), (27_000_000, 1 / 900), (240_000_000, 1 / 150)))
GPU = Speed(((7_000_000, 1 / 60_000), (800_000_000, 1 / 30_000)))


def test_a_laptop_gets_small_networks_and_several_full_trials_in_ten_minutes() -> None:
    settings = SearchSettings(time_budget=600)
    made = make_plan(settings, CIFAR, 5_000_000, LAPTOP)
    outlook = forecast(made, settings, LAPTOP)
    assert made.mac_budget is not None
    assert 8_000_000 <= made.mac_budget < 100_000_000
    assert len(made.rungs) >= 3
    assert outlook.trials >= 8
    assert outlook.seconds <= 600
    full = made.max_epochs * (made.train_size + made.val_limit / 3) * LAPTOP.seconds(made.mac_budget)
    assert full * 10 < 600
    assert 3 <= made.startup_trials <= outlook.trials // 3


def test_larger_images_allow_larger_networks_by_as_many_pixels() -> None:
    big = replace(CIFAR, image_size=64)
    settings = SearchSettings(time_budget=60)  # too short: the smallest limit is proposed
    plans = [make_plan(settings, data, 5_000_000, LAPTOP) for data in (CIFAR, big)]
    assert [p.mac_budget for p in plans] == [8_000_000, 32_000_000]


def test_four_times_the_time_makes_trials_twice_as_long_and_their_networks_twice_as_costly() -> None:
    short, long = (make_plan(SearchSettings(time_budget=t), CIFAR, 5_000_000, LAPTOP) for t in (1200, 4800))
    assert short.mac_budget is not None
    assert long.mac_budget is not None
    images = [plan.max_epochs * plan.train_size for plan in (short, long)]
    assert images[1] / images[0] == pytest.approx(2, rel=0.1)
    assert LAPTOP.seconds(long.mac_budget) / LAPTOP.seconds(short.mac_budget) == pytest.approx(2, rel=0.1)


def test_a_gpu_needs_no_mac_limit() -> None:
    made = make_plan(SearchSettings(time_budget=600), CIFAR, 5_000_000, GPU)
    assert made.mac_budget is None
    assert made.train_size == 45_000
    assert made.max_epochs >= 27


def test_what_the_user_says_stands() -> None:
    settings = SearchSettings(
        time_budget=600, mac_budget=50_000_000, train_size=3000, max_epochs=20, min_epochs=2, eta=4, val_size=2000
    )
    for pruner, ladder in (("promotion", [2, 5, 20]), ("hyperband", [2, 8, 20])):  # from above, from below
        made = make_plan(replace(settings, pruner=pruner), CIFAR, 5_000_000, LAPTOP)
        assert (made.mac_budget, made.train_size, made.max_epochs, made.min_epochs) == (50_000_000, 3000, 20, 2)
        assert made.rungs == ladder
    assert make_plan(SearchSettings(time_budget=600, mac_budget=0), CIFAR, 5_000_000, LAPTOP).mac_budget is None


@pytest.mark.parametrize(("pruner", "eta"), [("promotion", 2), ("hyperband", 3), ("none", 3)])
def test_each_pruner_has_its_usual_reduction_factor(pruner: str, eta: int) -> None:
    made = make_plan(SearchSettings(max_epochs=64, pruner=pruner), CIFAR, 5_000_000, LAPTOP)
    assert made.eta == eta
    assert made.from_top == (pruner == "promotion")
    if pruner == "promotion":
        assert made.rungs == [2, 4, 8, 16, 32, 64]  # not below a 32nd


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (SearchSettings(val_size=50_000), "--val-size must leave images"),
        (SearchSettings(train_size=46_000), "--train-size must not exceed"),
    ],
)
def test_impossible_sizes_are_refused(settings: SearchSettings, words: str) -> None:
    with pytest.raises(StudyError, match=words):
        make_plan(settings, CIFAR, 5_000_000, LAPTOP)


@given(st.floats(5, 1e6), st.integers(100, 1_000_000_000))
def test_every_time_budget_gives_a_usable_plan(seconds: float, slowness: int) -> None:
    speed = Speed(((1_000_000, slowness / 1e9), (100_000_000, slowness / 1e7)))
    settings = SearchSettings(time_budget=seconds)
    made = make_plan(settings, CIFAR, 5_000_000, speed)
    assert 1 <= made.min_epochs <= made.max_epochs <= 81
    assert 1 <= made.train_size <= 45_000
    assert made.min_epochs < made.max_epochs
    assert describe(made, forecast(made, settings, speed), settings, choose_device("cpu"))


def test_the_plan_says_where_the_default_alone_is_expected_to_do_as_well() -> None:
    def said(speed: Speed, settings: SearchSettings) -> list[str]:
        made = make_plan(settings, CIFAR, 5_000_000, speed)
        lines = describe(made, forecast(made, settings, speed), settings, choose_device("cpu"))
        return [line for line in lines if line.startswith("default ")]

    short = SearchSettings(time_budget=600)
    assert "--retrain gives it most of the time" in said(LAPTOP, short)[0]
    assert "that is where most of it goes" in said(LAPTOP, replace(short, retrain=True))[0]
    assert said(LAPTOP, replace(short, warm_start=False)) == []  # no default is trained
    assert said(GPU, short) == []


def test_limits_and_the_usual_network_agree() -> None:
    usual = REFERENCE_RESNET.cost()
    assert macs_at(None, 32) == macs_at(usual.parameters, 32) == usual.macs
    assert macs_at(usual.parameters // 2, 64) == pytest.approx(2 * usual.macs, rel=1e-6)
    assert parameters_at(usual.macs, 32) == parameters_at(4 * usual.macs, 64) == usual.parameters
