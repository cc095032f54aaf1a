"""Bombs are refused in one line, by a process that has a gigabyte and five seconds; nothing is written beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.bombs import BOMBS
from tests.faults.processes import told_within_limits

BY_DEFAULT = [
    "120 bytes for 16 GB",
    "200 kB of lists",
    "xz of zeros",
    "zip that lies",
    "pipe as data",
    "links in a circle",
]


@pytest.mark.parametrize(
    "name", [name if name in BY_DEFAULT else pytest.param(name, marks=pytest.mark.slow) for name in BOMBS]
)
def test_a_bomb_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    make, read, told = BOMBS[name]
    path = tmp_path / "bomb"
    make(path)
    before = set(tmp_path.rglob("*"))
    answer = told_within_limits(read, path)
    assert told in answer
    assert bool(answer) == bool(told)
    assert "\n" not in answer
    assert len(answer) < 800
    assert {
        made for made in set(tmp_path.rglob("*")) - before if (tmp_path / "cache") not in (made, *made.parents)
    } == set()
