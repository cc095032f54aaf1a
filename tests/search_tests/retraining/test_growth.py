"""Trials of a search on a slow machine are trained wider where there is time, and never above the parameter limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifar.candidate import Candidate, RecipeFile
from cifar.networks.fast_resnet import FastResNetConfig
from cifar.networks.reference import CnnConfig
from cifar.networks.resnet import ResNetConfig
from cifar.recipe import Augmentation, Optimizer, Recipe
from search.planning.speed import Speed
from search.retraining.candidates import choose
from search.retraining.growth import grown, grown_variants, lengthened
from search.session import run_search
from search.settings import SearchSettings
from search.study.attributes import MAC_BUDGET_PROPOSED
from search.study.study import require_study
from spaces.width import Limits

LIMIT = 5_000_000
FAST = RecipeFile.named("cpu_fast")
SCALED = replace(FAST.candidate, network=FastResNetConfig(widths=(16, 72, 72), initialization="kaiming"))
OTHER = Candidate(ResNetConfig(blocks=(1, 2, 1), channels=(16, 24, 48), stem=8), FAST.candidate.recipe)


def test_the_default_recipe_scaled_down_grows_into_itself_and_its_variants() -> None:
    found = grown_variants(SCALED, LIMIT)
    assert [variant.candidate for variant in found] == [FAST.candidate, *(v.candidate for v in FAST.longer)]
    assert [variant.passes for variant in found] == sorted(variant.passes for variant in found)


def test_another_trial_grows_to_the_same_sizes_in_its_own_shape() -> None:
    found = grown_variants(OTHER, LIMIT)
    for variant, default in zip(found, [FAST.candidate, *(v.candidate for v in FAST.longer)], strict=True):
        size = default.cost.macs
        network = variant.candidate.network
        assert isinstance(network, ResNetConfig)
        assert network.blocks == (1, 2, 1)
        assert network.channels[2] == pytest.approx(3 * network.channels[0], abs=8)
        assert 0.7 * size < variant.candidate.cost.macs <= size
        assert variant.candidate.recipe == default.recipe  # it has the default's
        assert "a network of 1-2-1 x " in variant.why


Rate = float | Literal["range_test"]
rates: st.SearchStrategy[Rate] = st.one_of(st.floats(1e-3, 2), st.just("range_test"))


@given(
    rate=rates, batch=st.sampled_from([64, 128, 512, 1024]), decay=st.floats(0, 1e-2), cutout=st.sampled_from([0, 8])
)
def test_a_trial_goes_along_with_the_default(rate: Rate, batch: int, decay: float, cutout: int) -> None:
    short = Recipe(batch_size=128, optimizer=Optimizer(lr=0.1), label_smoothing=0.1)
    long = replace(short, batch_size=512, optimizer=Optimizer(lr=0.3), augmentation=Augmentation(cutout=4, mixup=0.2))
    optimizer = Optimizer(lr=rate, weight_decay=decay)
    found = lengthened(replace(short, batch_size=batch, optimizer=optimizer), short, long)
    assert found.batch_size == (4 * batch if batch < 512 else 1024)
    expected = rate if isinstance(rate, str) else pytest.approx(3 * rate)
    assert found.optimizer == replace(optimizer, lr=found.optimizer.lr)
    assert found.optimizer.lr == expected
    assert found.augmentation == long.augmentation
    assert found.label_smoothing == 0.1
    own = replace(short, augmentation=Augmentation(cutout=cutout))
    assert lengthened(own, short, long).augmentation == Augmentation(cutout=cutout or 4, mixup=0.2)
    assert lengthened(own, short, short) == own
    assert lengthened(short, short, long) == long


def test_nothing_grows_above_the_parameter_limit() -> None:
    assert grown_variants(SCALED, 400_000) == ()
    assert [v.candidate.cost.parameters for v in grown_variants(SCALED, 600_000)] == [498_104]
    assert all(v.candidate.cost.parameters <= 300_000 for v in grown_variants(OTHER, 300_000))


def test_what_is_large_already_or_of_another_kind_stays() -> None:
    largest = FAST.longer[-1].candidate
    assert grown_variants(largest, LIMIT) == ()
    assert grown_variants(Candidate(CnnConfig(), FAST.candidate.recipe), LIMIT) == ()


@given(
    widths=st.tuples(*[st.integers(4, 64)] * 3),
    parameters=st.integers(50_000, LIMIT),
    macs=st.integers(5_000_000, 300_000_000),
)
def test_a_grown_network_keeps_every_limit(widths: tuple[int, int, int], parameters: int, macs: int) -> None:
    network, limits = FastResNetConfig(widths=widths), Limits(parameters, macs)
    wide = grown(network, limits)
    if not limits.allow(network.cost()):
        assert wide is None
    elif wide is not None:
        assert limits.allow(wide.cost())


def variants_of_best(study: optuna.Study) -> int:
    named = choose(recipe=None, trial="best", study=study.study_name, storage=None, space=None).only("this test")
    return len(named.longer)


def test_only_a_limit_that_the_user_did_not_set_is_outgrown(toy_search: Callable[..., SearchSettings]) -> None:
    study = run_search(toy_search(space="resnet_budget5m", max_trials=1, max_epochs=1, mac_budget=3_000_000))
    assert study.user_attrs[MAC_BUDGET_PROPOSED] is False
    assert variants_of_best(study) == 0
    require_study(toy_search()).set_user_attr(MAC_BUDGET_PROPOSED, True)
    assert variants_of_best(study) > 0


def test_a_limit_for_this_machine_is_noted(
    toy_search: Callable[..., SearchSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Speed(((1_000_000, 1e-3), (10_000_000, 1e-2)))
    monkeypatch.setattr("search.planning.speed.measure_speed", lambda device: slow)
    settings = toy_search(space="resnet_budget5m", max_trials=1, max_epochs=1, mac_budget=None, time_budget=600.0)
    assert run_search(settings).user_attrs[MAC_BUDGET_PROPOSED] is True
