"""How many workers train most side by side on this machine: measured, since it depends on networks and hardware.

On a CPU, waiting for the other cores at each of a small network's many short operations costs more than it gains, so
that a worker a core may train more in all; on a GPU, several small networks fill it better than one.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor

import torch

from cifar.candidate import Candidate
from cifar.data.images import ImageSet
from cifar.data.splits import TrainingSplit
from cifar.networks.resnet import ResNetConfig
from cifar.runtime.device import Device
from cifar.train import Training

SECONDS = 3.0  # that each number of workers is timed
IMAGES = 512
NETWORK = ResNetConfig(blocks=(2, 2, 2), channels=(16, 32, 64), stem=16)  # as small as searches on a CPU try
GPU_WORKERS = (1, 2, 4)
WORTH = 1.05  # times the images/s of fewer workers; less is not worth the memory


def probe_split() -> TrainingSplit:
    """Random images of 10 classes, as many as `IMAGES`."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.arange(IMAGES) % 10
    return TrainingSplit(ImageSet(images, labels), ImageSet(images[:0], labels[:0]), tuple("0123456789"))


def images_per_second(device: Device, threads: int) -> float:
    """Of one worker's training, for `SECONDS` after a first epoch."""
    torch.set_num_threads(threads)
    training = Training(Candidate(NETWORK), probe_split(), device=device, epochs=10_000, seed=0)
    epochs = training.run()
    next(epochs)
    speeds, started = [], time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        result = next(epochs)
        speeds.append(result.images / result.seconds)
    return statistics.median(speeds)


def threads_of_each(workers: int) -> int:
    """CPU threads of each of so many workers."""
    return max(1, (os.cpu_count() or 1) // workers)


def candidates(device: Device) -> tuple[int, ...]:
    """Numbers of workers worth timing."""
    if device.torch_device.type != "cpu":
        return GPU_WORKERS
    cores = os.cpu_count() or 1
    return tuple(sorted({1, max(1, cores // 2), cores}))


def measure_workers(device: Device) -> dict[int, float]:
    """Images/s of all workers together, by their number."""
    speeds = {}
    for workers in candidates(device):
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            each = [pool.submit(images_per_second, device, threads_of_each(workers)) for _ in range(workers)]
            speeds[workers] = sum(future.result() for future in each)
    return speeds


def best_number(speeds: dict[int, float]) -> int:
    """The number that trains most, where each step up from fewer is worth it."""
    chosen = min(speeds)
    for workers in sorted(speeds):
        if speeds[workers] >= WORTH * speeds[chosen]:
            chosen = workers
    return chosen
