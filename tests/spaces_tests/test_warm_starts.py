"""Every recipe, in every built-in space: inside it decodes to itself, outside the refusal says why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.trial import FixedTrial

from cifar.candidate import Candidate
from cifar.errors import InfeasibleError
from cifar.networks.fast_resnet import FastResNetConfig
from cifar.recipe import Augmentation, Optimizer, Schedule, recipe_names
from spaces.base import Problem
from spaces.registry import BUILT_IN, load_space
from spaces.resnet_budget5m import BASE_RECIPE, RECIPE_ATTRIBUTE, ResNetSpace

INSIDE = {
    "resnet_budget5m": {
        "cpu_fast",
        "gpu_long",
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
    "depthwise_dilated",
    "resnet9_onecycle",
    "resnet18_transfer",
}
OUTSIDE = {"gpu_fast"}  # within the limits, but with settings that the spaces do not search


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
    first, second, *others = space.warm_starts()
    scaled = " (scaled to the limits)"
    assert first.name == BASE_RECIPE + ("" if BASE_RECIPE in INSIDE[space_name] else scaled)
    assert second.name == "resnet_fast" + scaled
    assert {start.name for start in others} == INSIDE[space_name] - {BASE_RECIPE, "resnet_fast"}


@pytest.mark.parametrize("name", sorted(INSIDE["resnet_budget5m"] - {"resnet_fast"}))
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
    elif name in OUTSIDE:
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


MUON = Optimizer(
    "muon", 0.24, 2e-3, 0.6, nesterov=True, head_lr_factor=13.0, other_lr_factor=0.22, renormalize_filters=True
)
CPU_FAST = Candidate.named("cpu_fast")


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": MUON},
        {"batch_size": 512, "optimizer": replace(CPU_FAST.recipe.optimizer, bias_lr_factor=64.0, lr=1.5)},
        {"optimizer": replace(CPU_FAST.recipe.optimizer, decay_norm_and_bias=True, nesterov=False)},
        {"batch_size": 128},
        {"batch_size": 1024},
        {"ema_decay": 0.999, "lookahead_steps": 5},
        {"schedule": Schedule("constant", 2, cooldown_epochs=9, cooldown_shape="sqrt")},
        {"schedule": Schedule("cosine", 3, start_factor=0.1)},
        {"resolution_start": 0.75, "full_resolution_after": 0.6},
        {"augmentation": Augmentation(alternating_flip=True, crop_padding=2, crop_mode="reflect")},
        {"augmentation": Augmentation(ricap=0.3, mixing_probability=0.5, cutout=8)},
        {"augmentation": Augmentation(cutmix=1.0, mixup=0.2, mixing_probability=0.7, trivial_augment=True)},
    ],
)
@pytest.mark.parametrize("widths", [(32, 128, 128), (64, 256, 256), (24, 64, 160)])
def test_every_setting_of_fast_training_can_be_a_warm_start(
    changes: dict[str, Any], widths: tuple[int, int, int]
) -> None:
    assert isinstance(CPU_FAST.network, FastResNetConfig)
    network = replace(CPU_FAST.network, widths=widths, convolutions=3)
    candidate = Candidate(network, replace(CPU_FAST.recipe, **changes))
    params = space_of("resnet_budget5m").encode(candidate)  # which decodes them again
    assert params["design"] == "fast"
