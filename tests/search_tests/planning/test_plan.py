"""Rungs, brackets and plans."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.pruners import HyperbandPruner

from cifar.data.prepare import PreparedData
from cifar.runtime.device import choose_device
from search.engine.pruners import make_pruner
from search.format import format_duration
from search.planning.planner import Plan, Speed, describe, forecast, make_plan, mean_epochs, rungs
from search.settings import SearchSettings, StudyError

CIFAR = PreparedData(Path("none"), "somewhere", "0", tuple("abcdefghij"), 50_000, 10_000, 32)
LAPTOP = Speed(((7_000_000, 1 / 1500), (27_000_000, 1 / 900), (240_000_000, 1 / 150)))
GPU = Speed(((7_000_000, 1 / 60_000), (800_000_000, 1 / 30_000)))


def plan(min_epochs: int, max_epochs: int, eta: int) -> Plan:
    return Plan(min_epochs, max_epochs, eta, 1000, 100, 100, None, None)


@pytest.mark.parametrize(
    ("min_epochs", "max_epochs", "eta", "expected"),
    [
        (1, 9, 3, [1, 3, 9]),
        (3, 243, 3, [3, 9, 27, 81, 243]),
        (1, 243, 3, [1, 3, 9, 27, 81, 243]),
        (2, 51, 3, [2, 6, 18, 51]),
        (5, 5, 3, [5]),
    ],
)
def test_rungs(min_epochs: int, max_epochs: int, eta: int, expected: list[int]) -> None:
    assert rungs(min_epochs, max_epochs, eta) == expected


@given(st.integers(1, 50), st.integers(1, 1000), st.integers(2, 6))
def test_rungs_climb_to_the_full_length(min_epochs: int, extra: int, eta: int) -> None:
    ladder = rungs(min_epochs, min_epochs + extra, eta)
    assert ladder[0] == min_epochs
    assert ladder[-1] == min_epochs + extra
    assert all(high == low * eta for low, high in pairwise(ladder[:-1]))
    assert ladder[-2] < ladder[-1] <= ladder[-2] * eta


@given(st.integers(1, 9), st.integers(0, 6), st.integers(2, 5))
def test_hyperband_has_a_bracket_for_every_rung(first: int, power: int, eta: int) -> None:
    pruner = make_pruner("hyperband", plan(first, first * eta**power, eta))
    assert isinstance(pruner, HyperbandPruner)
    counted = math.floor(math.log(pruner._max_resource / pruner._min_resource, eta)) + 1  # type: ignore[operator]
    assert counted == power + 1 == len(rungs(first, first * eta**power, eta))


def test_mean_epochs_of_known_ladders() -> None:
    assert mean_epochs([5], 3) == 5
    # brackets 1-3-9, 3-9, 9 with weights 3, 1.5, 1 and means 1 + 2/3 + 6/9, 3 + 6/3, 9
    assert mean_epochs([1, 3, 9], 3) == pytest.approx((3 * (7 / 3) + 1.5 * 5 + 9) / 5.5)


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


@given(st.floats(1e6, 1e12), st.floats(1e6, 1e12))
def test_larger_networks_take_longer(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert LAPTOP.seconds(low) <= LAPTOP.seconds(high)


def test_largest_inverts_seconds() -> None:
    assert LAPTOP.largest(LAPTOP.seconds(50e6)) == pytest.approx(50e6, rel=1e-6)


@pytest.mark.parametrize(
    ("seconds", "words"), [(9, "9 s"), (570, "9 min 30 s"), (4000, "1 h 6 min"), (200_000, "2 d 7 h")]
)
def test_spoken(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"eta": 1}, "--eta must be 2 or more; got 1"),
        ({"min_epochs": 9, "max_epochs": 3}, "--min-epochs must not exceed --max-epochs; got 9 and 3"),
        ({"sampler": "psychic"}, "--sampler must be a known sampler; got psychic"),
        ({"pruner": "shears"}, "--pruner"),
        ({"time_budget": 0.0}, "--time-budget must be longer than 0"),
        ({"study": "../up"}, "plain folder name"),
        ({"max_trials": 0}, "--trials must be 1 or more"),
        ({"val_size": 0}, "--val-size"),
    ],
)
def test_contradictory_settings_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(StudyError, match=words):
        SearchSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("space", "name"),
    [("resnet_budget5m", "resnet_budget5m"), ("mine/curves.py", "curves"), ("pkg.mod:thing", "thing")],
)
def test_studies_are_named_after_their_space(space: str, name: str) -> None:
    assert SearchSettings(space=space).study_name == name
