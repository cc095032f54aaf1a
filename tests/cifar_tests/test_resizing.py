"""Progressive resizing: which side at which step, and which networks are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cifar.errors import ConfigError
from cifar.networks.reference import CnnConfig, DepthwiseConfig, ResNet9Config
from cifar.networks.registry import NetworkConfig
from cifar.networks.resnet import ResNetConfig
from cifar.recipe import Recipe
from cifar.resizing import require_any_size, resized, training_side

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL_FIRST = Recipe(resolution_start=0.75, full_resolution_after=0.6)


@given(st.floats(0.01, 1), st.floats(0, 1), st.integers(8, 64), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_images_never_shrink_and_end_at_full_size(
    start: float, after: float, side: int, early: float, late: float
) -> None:
    recipe = Recipe(resolution_start=start, full_resolution_after=after)
    first, second = (training_side(recipe, side, progress) for progress in sorted((early, late)))
    assert 1 <= first <= second <= side
    assert training_side(recipe, side, progress=1.0) == side
    assert training_side(replace(recipe, resolution_start=1.0), side, early) == side


def test_the_full_size_comes_after_the_given_share() -> None:
    sides = [training_side(SMALL_FIRST, 32, step / 10) for step in range(10)]
    assert sides == 6 * [24] + 4 * [32]


def test_resized_images_keep_their_mean_and_layout() -> None:
    images = torch.rand(4, 3, 32, 32).to(memory_format=torch.channels_last)
    small = resized(images, 16)
    assert small.shape == (4, 3, 16, 16)
    assert small.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(small.mean((2, 3)), images.mean((2, 3)), atol=5e-3, rtol=0)
    assert small.std() < 0.7 * images.std()  # smoothed: noise averages out
    assert resized(images, 32) is images


@pytest.mark.parametrize(
    "config", [ResNetConfig(), ResNetConfig(block="preact"), DepthwiseConfig(), ResNetConfig(image_size=16)]
)
def test_networks_that_end_in_global_pooling_take_any_size(config: NetworkConfig) -> None:
    network = config.build().train()
    require_any_size(network, SMALL_FIRST, config.image_size)
    assert all(module.training for module in network.modules())


@pytest.mark.parametrize("config", [ResNetConfig(pool=4), ResNetConfig(pool=8), ResNet9Config(), CnnConfig()])
def test_others_are_refused_with_a_remedy(config: NetworkConfig) -> None:
    network: nn.Module = config.build()
    with pytest.raises(ConfigError, match=r"any size.*got 24 instead of 32 pixels.*Set resolution_start = 1") as caught:
        require_any_size(network, SMALL_FIRST, config.image_size)
    assert "\n" not in str(caught.value)
    assert network.training
