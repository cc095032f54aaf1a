"""How long a network takes to answer."""

from __future__ import annotations

import torch

from cifar.latency import measure_latency
from cifar.networks.resnet import ResNetConfig
from cifar.runtime.device import choose_device


def test_a_network_is_timed_for_one_image_and_for_a_batch_without_a_trace() -> None:
    before = torch.get_rng_state()
    found = measure_latency(
        ResNetConfig(channels=(4, 8, 8), blocks=(1, 1, 1), stem=4, image_size=16), choose_device("cpu")
    )
    assert 0 < found.image_ms < found.batch_ms  # of 128 times as many images
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_grad_enabled()
