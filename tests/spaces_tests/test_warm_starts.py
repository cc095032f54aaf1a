"""Every recipe, in every built-in space: inside it decodes to itself, outside the refusal says why."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest
from optuna.trial import FixedTrial

from cifar.candidate import Candidate
from cifar.errors import InfeasibleError
from cifar.recipe import recipe_names
from spaces.base import Problem
from spaces.registry import BUILT_IN, load_space
from spaces.resnet_budget5m import BASE_RECIPE, RECIPE_ATTRIBUTE, ResNetSpace

INSIDE = {
    "resnet_budget5m": {
        "resnet24_budget5m",
        "resnet24_budget5m_w64",
        "resnet_3_5_3",
        "resnet_16_32_64",
        "resnet_fast",
    },
    "resnet_budget300k": {"resnet_16_32_64", "resnet_fast"},
    "resnet_budget30k": set(),
}
NO_RESNETS = {
    "baseline_cnn",
    "cnn_64_128_256",
    "cpu_fast",
    "depthwise_dilated",
    "gpu_fast",
    "resnet9_onecycle",
    "resnet18_transfer",
}
OTHERWISE_TRAINED = {"gpu_long"}  # within the limits, but with settings that the spaces do not search


def space_of(name: str) -> ResNetSpace:
    space = load_space(name, Problem())
    assert isinstance(space, ResNetSpace)
    return space


@pytest.mark.parametrize("space_name", BUILT_IN)
@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_is_decoded_to_itself_or_refused(space_name: str, name: str) -> None:
    space, candidate = space_of(space_name), Candidate.named(name)
    if name not in INSIDE[space_name]:
        with pytest.raises(InfeasibleError, match=r"reference only|every setting of the candidate") as caught:
            space.encode(candidate)
        assert "\n" not in str(caught.value)
        return
    trial = FixedTrial(space.encode(candidate))
    trial.set_user_attr(RECIPE_ATTRIBUTE, name)
    assert space.suggest(trial) == candidate


@pytest.mark.parametrize("space_name", BUILT_IN)
def test_what_lies_inside_is_a_warm_start_and_nothing_else(space_name: str) -> None:
    space = space_of(space_name)
    first, *others = space.warm_starts()
    assert first.name.startswith(BASE_RECIPE)
    assert {start.name for start in others} == INSIDE[space_name] - {BASE_RECIPE}


@pytest.mark.parametrize("name", sorted(INSIDE["resnet_budget5m"] - {BASE_RECIPE}))
def test_an_enqueued_recipe_comes_back_from_the_study(name: str) -> None:
    space = space_of("resnet_budget5m")
    start = next(start for start in space.warm_starts() if start.name == name)
    study = optuna.create_study()
    study.enqueue_trial(dict(start.params), user_attrs=dict(start.attributes))
    trial = study.ask()
    assert space.suggest(trial) == Candidate.named(name)


@pytest.mark.parametrize("name", sorted(set(recipe_names()) - INSIDE["resnet_budget5m"]))
def test_refusals_tell_limit_or_kind(name: str) -> None:
    candidate = Candidate.named(name)
    with pytest.raises(InfeasibleError) as caught:
        space_of("resnet_budget5m").encode(candidate)
    if candidate.cost.parameters > 5_000_000:
        assert "at most 5,000,000 parameters" in str(caught.value)
        assert f"{candidate.cost.parameters:,}" in str(caught.value)
    elif name in OTHERWISE_TRAINED:
        assert "every setting of the candidate must lie inside the space" in str(caught.value)
    else:
        assert name in NO_RESNETS
        assert f"ResNets only; got a network of kind {candidate.network.kind!r}" in str(caught.value)


def test_a_rate_that_is_yet_to_be_found_cannot_be_enqueued() -> None:
    candidate = Candidate.named("resnet_16_32_64")
    optimizer = replace(candidate.recipe.optimizer, lr="range_test")
    unresolved = replace(candidate, recipe=replace(candidate.recipe, optimizer=optimizer))
    with pytest.raises(InfeasibleError, match=r"optimizer\.lr as a number; got 'range_test'.*search\.lr_range"):
        space_of("resnet_budget5m").encode(unresolved)


@pytest.mark.filterwarnings("ignore:The value 0.5 of the parameter:UserWarning")  # FixedTrial's
def test_a_setting_outside_its_range_cannot_be_enqueued() -> None:
    candidate = Candidate.named("resnet_16_32_64")
    smoother = replace(candidate, recipe=replace(candidate.recipe, label_smoothing=0.5))
    with pytest.raises(InfeasibleError, match="every setting of the candidate must lie inside the space"):
        space_of("resnet_budget5m").encode(smoother)
