"""How fast this machine trains, by the size of the network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch

from cifar.networks.resnet import ResNetConfig
from cifar.runtime.device import Device
from search.planning.probe import probe_images, seconds_an_image
from search.planning.workers import devices_to_use, threads_of_each
from search.settings import SearchSettings

PROBES = (8, 16, 48, 96)  # first-stage channels of networks of [2, 2, 2] blocks
PROBE_IMAGES = 256  # an epoch on a CPU
PROBE_EPOCHS = 2  # timed after one that warms up, or more until it took PROBE_LEAST_SECONDS; the fastest counts
PROBE_LEAST_SECONDS = 0.6  # a tenth of a second alone tells what else the machine did just then
PROBE_SECONDS = 4.0  # that one network may take; where it would take longer, its speed is left to extrapolation


@dataclass(frozen=True)
class Speed:
    """How fast this machine trains, by the size of the network."""

    points: tuple[tuple[int, float], ...]
    """(multiply-accumulates an image, seconds an image), by size."""

    def seconds(self, macs: float) -> float:
        """Seconds to train on one image: interpolated between the measured sizes, in proportion to MACs beyond them."""
        for (low, a), (high, b) in pairwise(self.points):
            if macs <= high:
                share = max(0.0, macs - low) / (high - low)
                return a + share * (b - a)
        macs_last, seconds_last = self.points[-1]
        return seconds_last * macs / macs_last

    def largest(self, seconds: float) -> float:
        """Multiply-accumulates of the largest network that trains on an image in `seconds`."""
        low, high = 0.0, 1e12
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.seconds(middle) <= seconds else (low, middle)
        return low


def measure_speed(device: Device) -> Speed:
    """Times networks of growing size; a few seconds in all."""
    points: list[tuple[int, float]] = []
    images = probe_images(device, PROBE_IMAGES)
    for width in PROBES:
        network = ResNetConfig(channels=(width, 2 * width, 4 * width), stem=width)
        macs = network.cost().macs
        if points and _probe_seconds(points[-1], macs, images) > PROBE_SECONDS:
            break
        timed = seconds_an_image(network, device, images=images, epochs=PROBE_EPOCHS, seconds=PROBE_LEAST_SECONDS)
        points.append((macs, min(timed)))
    return Speed(tuple(points))


def speed_of_each(settings: SearchSettings, device: Device) -> Speed:
    """How fast each of the workers trains that share this machine: with its share of the cores, or of a GPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads_of_each(settings.workers))
    try:
        speed = measure_speed(device)
    finally:
        torch.set_num_threads(before)
    if device.torch_device.type == "cpu":
        return speed
    sharing = math.ceil(settings.workers / len(devices_to_use(settings.device)))
    return Speed(tuple((macs, sharing * seconds) for macs, seconds in speed.points))


def _probe_seconds(point: tuple[int, float], macs: int, images: int) -> float:
    """Seconds that the probe of a network of `macs` will take with so many images an epoch, from one that was timed."""
    timed_macs, seconds = point
    return (1 + PROBE_EPOCHS) * images * seconds * macs / timed_macs
