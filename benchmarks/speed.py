"""Images/s of the trainer: of one training, and of several side by side in processes of their own.

One small network leaves most of a GPU idle; several trainings share it, by time slices unless NVIDIA's Multi-Process
Service runs. `python -m benchmarks.throughput --only side_by_side` prints what all of them do together.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing.synchronize import Barrier

import torch

from benchmarks import naive
from cifar.candidate import Candidate
from cifar.data.prepare import PreparedData
from cifar.runtime.device import Device
from cifar.train import Training
from search.planning.workers import threads_of_each

NUMBERS = (1, 2, 4, 8)  # of trainings side by side
START_SECONDS = 300.0  # within which all processes must have begun

_barrier: Barrier | None = None  # of this process, where it is one of several


def synchronize(device: Device) -> None:
    """Waits for a GPU."""
    if device.torch_device.type == "cuda":
        torch.cuda.synchronize()


def trainer_speed(training: Training, seconds: float) -> float:
    """Training images/s over about so many seconds."""

    def steps() -> Iterator[int]:
        lrs = [training.peak_lr * 0.1] * training.steps_an_epoch
        return (training.batch_size for _ in training.steps(lrs))

    return naive.images_per_s(steps, seconds, partial(synchronize, training.device))


def side_by_side(
    candidate: Candidate, data: PreparedData, device: Device, seconds: float, numbers: Sequence[int] = NUMBERS
) -> dict[int, float]:
    """Images/s of all trainings together, by their number.

    Args:
        candidate: what each of them trains, its launches recorded where that works.
        data: images that each of them has whole.
        device: of all of them; on a CPU they share its cores.
        seconds: for which each number is timed.
        numbers: of trainings.
    """
    spawn = multiprocessing.get_context("spawn")
    speeds = {}
    for number in numbers:
        barrier = spawn.Barrier(number)
        with ProcessPoolExecutor(number, mp_context=spawn, initializer=_join, initargs=(barrier,)) as pool:
            threads = threads_of_each(number)
            each = [pool.submit(_one_of_several, candidate, data, device, seconds, threads) for _ in range(number)]
            speeds[number] = sum(future.result() for future in each)
    return speeds


def _join(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _one_of_several(candidate: Candidate, data: PreparedData, device: Device, seconds: float, threads: int) -> float:
    """Images/s of one training, timed while the others are."""
    torch.set_num_threads(threads)
    training = Training(candidate, naive.split_of(data), device=device, epochs=1, seed=0)
    training.compile("record")
    trainer_speed(training, 0.0)  # warms up
    assert _barrier is not None
    _barrier.wait(START_SECONDS)
    return trainer_speed(training, seconds)
