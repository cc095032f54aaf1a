"""The speed of this machine: between and beyond the measured sizes, and a real measurement."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import search.planning.speed
from cifar.networks.resnet import ResNetConfig
from cifar.runtime.device import Device, choose_device
from search.planning.probe import probe_images, probe_split, seconds_an_image
from search.planning.speed import Speed, measure_speed

LAPTOP = Speed(((7_000_000, 1 / 1500), (27_000_000, 1 / 900), (240_000_000, 1 / 150)))


@given(st.floats(1e6, 1e12), st.floats(1e6, 1e12))
def test_larger_networks_take_longer(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert LAPTOP.seconds(low) <= LAPTOP.seconds(high)


def test_largest_inverts_seconds() -> None:
    assert LAPTOP.largest(LAPTOP.seconds(50e6)) == pytest.approx(50e6, rel=1e-6)


def test_a_measurement_times_networks_of_growing_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.planning.speed, "PROBES", (4, 8))
    monkeypatch.setattr(search.planning.speed, "PROBE_SECONDS", math.inf)  # however slow the machine is
    points = measure_speed(choose_device("cpu")).points
    assert [macs for macs, _ in points] == [
        ResNetConfig(channels=(w, 2 * w, 4 * w), stem=w).cost().macs for w in (4, 8)
    ]
    assert all(seconds > 0 for _, seconds in points)


def test_networks_that_would_take_too_long_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.planning.speed, "PROBES", (4, 64))
    monkeypatch.setattr(search.planning.speed, "PROBE_SECONDS", 0.0)
    assert len(measure_speed(choose_device("cpu")).points) == 1


def test_as_many_epochs_are_timed_as_asked_for() -> None:
    network = ResNetConfig(channels=(4, 4, 4), stem=4)
    assert len(seconds_an_image(network, choose_device("cpu"), images=128, epochs=3)) == 3


def test_probe_images_are_of_ten_classes_and_always_the_same() -> None:
    split = probe_split(40)
    assert split.train.images.shape == (40, 3, 32, 32)
    assert split.train.labels.bincount().tolist() == [4] * 10
    assert len(split.val.labels) == 0
    assert split.train.images.equal(probe_split(40).train.images)


def test_a_gpu_is_timed_with_more_images() -> None:
    assert probe_images(choose_device("cpu"), 256) == 256
    assert probe_images(Device(torch.device("cuda"), None), 256) == 8192
    assert probe_images(Device(torch.device("cuda"), None), 10_000) == 10_000
