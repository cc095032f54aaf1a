"""How long a network takes to answer on this device: the median of repeated passes, after some that warm up.

One image at a time is what a program waits for that asks for one, as in the single-stream scenario of MLPerf Inference
(arXiv 1911.02549); a batch of 128 tells how much the device answers where many ask. The median leaves out passes that
another program held up, unless it holds up half of them.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch

from cifar.networks.registry import NetworkConfig
from cifar.runtime.device import Device

BATCH = 128
"""Images of the batch."""
WARM_UP = 3
"""Passes that are not timed: the first chooses kernels and takes memory."""
FEWEST, MOST = 5, 50
"""Passes that are timed."""
SECONDS = 0.3
"""Time after which no pass begins, once there are the fewest."""


@dataclass(frozen=True)
class Latency:
    """How long a network takes to answer."""

    image_ms: float
    """Milliseconds for one image."""
    batch_ms: float
    """Milliseconds for a batch of 128."""


def measure_latency(network: NetworkConfig, device: Device) -> Latency:
    """Times a network with random weights, whose values do not matter; torch's generators stay as they were.

    Args:
        network: what is built.
        device: where it answers, in the precision in which it is evaluated.
    """
    where = device.torch_device
    with device.forked_generators(), torch.inference_mode():
        built = network.build().to(where).to(memory_format=torch.channels_last).eval()
        shape = (BATCH, 3, network.image_size, network.image_size)
        images = torch.randn(shape).to(where).to(memory_format=torch.channels_last)  # (B, 3, H, W)
        return Latency(_milliseconds(built, images[:1], device), _milliseconds(built, images, device))


def _milliseconds(network: torch.nn.Module, images: torch.Tensor, device: Device) -> float:
    """Median of the time in which the network answers these images."""
    for _ in range(WARM_UP):
        _seconds(network, images, device)
    began, found = time.perf_counter(), list[float]()
    while len(found) < FEWEST or (len(found) < MOST and time.perf_counter() - began < SECONDS):
        found.append(_seconds(network, images, device))
    return 1000 * statistics.median(found)


def _seconds(network: torch.nn.Module, images: torch.Tensor, device: Device) -> float:
    began = time.perf_counter()
    with device.autocasting():
        answer = network(images)
    answer.sum().item()  # waits for the device, which works on while Python goes on
    return time.perf_counter() - began
