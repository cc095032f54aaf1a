"""Work of many small operations on PyTorch's CPU threads: each piece on one core, several pieces at the same time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def one_thread() -> Iterator[None]:
    """Lets PyTorch use one CPU thread inside.

    An augmentation is hundreds of small steps. A second thread gains a third at best, and waiting for it at
    each step was 50 times slower where other processes, such as other trials, kept the cores busy.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def in_rounds(work: Callable[[Item], Result], items: Sequence[Item], threads: int) -> Iterator[Result]:
    """Does a round of `threads` items at the same time, each on one core, and hands out the results in order.

    Between rounds nothing runs: the cores are the caller's while it uses the results.

    Args:
        work: what to do with an item; must be safe to call from several threads.
        items: what to work on.
        threads: 1 works in the caller's own thread.
    """
    if min(threads, len(items)) <= 1:
        yield from map(work, items)
        return
    setting = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for start in range(0, len(items), threads):
                yield from list(pool.map(work, items[start : start + threads]))
    finally:
        torch.set_num_threads(setting)  # that of the pool's threads became the default of threads made later
