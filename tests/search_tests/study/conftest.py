"""Calls of the search in processes of their own."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from search.session import run_search
from search.settings import SearchSettings

Call = Callable[..., "subprocess.Popen[bytes]"]
Together = Callable[[SearchSettings, int], list[int | None]]


@pytest.fixture
def call(workplace: Path) -> Iterator[Call]:
    """Begins a call of the search; those that a failed test leaves behind are killed."""
    begun: list[subprocess.Popen[bytes]] = []

    def begin(space: str, *options: str) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", "search.run", "--space", space, "--quiet", *options]
        begun.append(subprocess.Popen(line, cwd=workplace, stderr=subprocess.PIPE))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()


@pytest.fixture
def together() -> Iterator[Together]:
    """Runs so many searches at once, and gives their exit codes; they begin within the same moment.

    Each is a process of its own, forked from one that has imported everything but has done nothing.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([run_search.__module__, "alembic.migration"])  # which Optuna imports late
    begun: list[BaseProcess] = []

    def run(settings: SearchSettings, count: int) -> list[int | None]:
        begun.extend(context.Process(target=run_search, args=(settings,)) for _ in range(count))
        for process in begun:
            process.start()
        for process in begun:
            process.join()
        return [process.exitcode for process in begun]

    yield run
    for process in begun:
        process.kill()
        process.join()
