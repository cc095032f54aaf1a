"""How many workers side by side train most on this machine: as usual, or measured, since it depends on the networks.

On a CPU, several threads that share one small network spend more time waiting for one another at its many short
operations than they gain, so one worker a core may train more in all. A GPU is better filled by several small
networks than by one; several GPUs get as many each, as `CUDA_VISIBLE_DEVICES` shows them.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import statistics
from concurrent.futures import ProcessPoolExecutor

import torch

from cifar.networks.resnet import ResNetConfig
from cifar.runtime.device import Device
from search.planning.probe import probe_images, seconds_an_image

SECONDS = 3.0  # for which each number of workers is timed
IMAGES = 512  # an epoch on a CPU
NETWORK = ResNetConfig(blocks=(2, 2, 2), channels=(16, 32, 64), stem=16)  # as small as searches on a CPU try
GPU_WORKERS = (1, 2, 4, 8)
STARTING_PAYS = 600.0  # seconds of a search: below them, starting processes takes more than they gain
WORKER_BYTES = 2**31  # memory of a worker: PyTorch, the images, and what a step needs
USED_SHARE = 0.5  # of the machine's memory
WORTH = 1.05  # times the images/s of fewer workers; less is not worth the memory


def images_per_second(device: Device, threads: int) -> float:
    """Images that one worker with this many threads trains on in a second."""
    torch.set_num_threads(threads)
    images = probe_images(device, IMAGES)
    return 1 / statistics.median(seconds_an_image(NETWORK, device, images=images, seconds=SECONDS))


def threads_of_each(workers: int) -> int:
    """CPU threads of each worker, so that all share the cores."""
    return max(1, (os.cpu_count() or 1) // workers)


def usual_number(device: Device, count: int, seconds: float | None) -> int:
    """How many workers train most, as far as is known without measuring.

    A search that time does not limit gets one a device, so that equal seeds give equal studies.

    Args:
        device: what each trains on.
        count: how many such devices there are.
        seconds: time of the search; None is no limit.
    """
    if device.torch_device.type != "cpu" or seconds is None or seconds < STARTING_PAYS:
        return count
    return max(1, min(os.cpu_count() or 1, int(USED_SHARE * _memory() / WORKER_BYTES)))


def _memory() -> int:
    """Bytes of this machine's memory; 0 where the system does not say."""
    names = ("SC_PAGE_SIZE", "SC_PHYS_PAGES")
    known = hasattr(os, "sysconf") and all(name in os.sysconf_names for name in names)
    return math.prod(os.sysconf(name) for name in names) if known else 0


def devices_to_use(device: str) -> list[str]:
    """The devices that `--device` stands for: all visible GPUs, or the one that it names."""
    count = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    return [f"cuda:{index}" for index in range(count)] or [device]


def devices_of_each(device: str, workers: int) -> list[str]:
    """The device of each worker, as `--device` names devices: the visible GPUs in turn, unless one was named."""
    devices = devices_to_use(device)
    return [devices[index % len(devices)] for index in range(workers)]


def numbers_to_try(device: Device) -> tuple[int, ...]:
    """Numbers of workers worth timing."""
    if device.torch_device.type != "cpu":
        return GPU_WORKERS
    cores = os.cpu_count() or 1
    return tuple(sorted({1, max(1, cores // 2), cores}))


def measure_workers(device: Device) -> dict[int, float]:
    """Images/s of all workers of one device together, by their number."""
    speeds = {}
    for workers in numbers_to_try(device):
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
