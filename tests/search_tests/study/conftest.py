"""Calls of the search in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Call = Callable[..., "subprocess.Popen[bytes]"]


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
