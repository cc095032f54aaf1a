"""The table of faults names tests that there are, and docs/reliability.md has its rows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults.rows import ROWS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("number", ROWS)
def test_its_tests_exist(number: int) -> None:
    for test in ROWS[number].tests:
        file, _, function = test.partition("::")
        assert f"def {function}(" in (ROOT / file).read_text() or (not function and (ROOT / file).exists())


def test_the_document_has_every_row() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+?) \|", (ROOT / "docs/reliability.md").read_text(), re.MULTILINE)
    assert {int(number): fault for number, fault in rows} == {number: row.fault for number, row in ROWS.items()}
