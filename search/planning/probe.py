"""Times the real training loop on random images: how fast this machine trains a network."""

from __future__ import annotations

import time

import torch

from cifar.candidate import Candidate
from cifar.data.images import ImageSet
from cifar.data.splits import TrainingSplit
from cifar.networks.resnet import ResNetConfig
from cifar.runtime.device import Device
from cifar.train import Training

GPU_IMAGES = 8192  # 64 steps of the default batch
UNENDING = 10_000  # epochs; more than any probe trains


def probe_split(count: int) -> TrainingSplit:
    """`count` random training images of 32 x 32 pixels and 10 classes; no validation images."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.arange(count) % 10
    return TrainingSplit(ImageSet(images, labels), ImageSet(images[:0], labels[:0]), tuple("0123456789"))


def probe_images(device: Device, on_cpu: int) -> int:
    """Images of an epoch that is timed; on a GPU so many that its end, which waits for the device, hardly counts."""
    return on_cpu if device.torch_device.type == "cpu" else max(on_cpu, GPU_IMAGES)


def seconds_an_image(
    network: ResNetConfig, device: Device, *, images: int, epochs: int = 1, seconds: float = 0.0
) -> list[float]:
    """Seconds of training on one image, measured in each epoch after a first that warms up.

    Args:
        network: what is trained, by the default recipe.
        device: where to train.
        images: training images an epoch.
        epochs: least number of epochs that are timed.
        seconds: least time for which epochs are timed.
    """
    results = Training(Candidate(network), probe_split(images), device=device, epochs=UNENDING, seed=0).run()
    next(results)
    found: list[float] = []
    started = time.perf_counter()
    while len(found) < epochs or time.perf_counter() - started < seconds:
        result = next(results)
        found.append(result.seconds / result.images)
    return found
