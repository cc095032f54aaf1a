"""Processes that may be killed, or may use so much and no more; forked from one that has imported everything."""

from __future__ import annotations

import multiprocessing
import os
import resource
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from cifar.errors import UserError

MEMORY_BYTES, CPU_SECONDS = 2**30, 5
"""What reading a stranger's file may take: memory above what the process had, and time of the processor."""


def forking() -> ForkServerContext:
    """Starts processes from one that has imported the search but has done nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["search.session", "alembic.migration", "tests.faults.bombs"])
    return context


def ended(process: ForkServerProcess) -> int | None:
    """Exit code of a process; the test's timeout ends the wait for one that hangs, which is killed then."""
    try:
        process.join()
    finally:
        process.kill()
        process.join()
    return process.exitcode


def told_within_limits(read: Callable[[Path], object], path: Path) -> str:
    """What a user is told who has a file read; empty where it is read without an error.

    The reader has `MEMORY_BYTES` and `CPU_SECONDS`. Anything but a `UserError` is told with its traceback, which has
    more than one line.
    """
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = forking().Process(target=_read, args=(read, path, theirs))
    process.start()
    theirs.close()
    code = ended(process)
    if code != 0:
        return f"the reader\nended with {code}"
    return str(ours.recv())


def _read(read: Callable[[Path], object], path: Path, answer: Connection[str, str]) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (int(sum(os.times()[:2])) + CPU_SECONDS,) * 2)
    try:
        read(path)
    except UserError as error:
        answer.send(str(error))
    except BaseException:
        answer.send(traceback.format_exc())
    else:
        answer.send("")
