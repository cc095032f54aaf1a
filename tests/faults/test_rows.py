"""The table of faults names tests that there are, and docs/reliability.md has its rows as they were counted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.faults.rows import ROWS
from tests.faults.table import DOCUMENT, KEPT, Count, keep, kept, table

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("number", ROWS)
def test_its_tests_exist(number: int) -> None:
    for test in ROWS[number].tests:
        file, _, function = test.partition("::")
        assert f"def {function}(" in (ROOT / file).read_text() or (not function and (ROOT / file).exists())


def test_the_document_has_every_row_as_it_was_counted() -> None:
    counts = kept()
    assert counts.keys() == ROWS.keys()
    assert table(counts) in DOCUMENT.read_text(encoding="utf-8")


def test_a_row_that_is_run_again_takes_the_place_of_its_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = DOCUMENT.read_text(encoding="utf-8")
    for name, path in (("KEPT", KEPT), ("DOCUMENT", DOCUMENT)):
        monkeypatch.setattr(f"tests.faults.table.{name}", Path(shutil.copy(path, tmp_path)))
    old = kept()[18]
    new = Count("2000-01-01", "abc", tried=9, survived=8, skipped=1, numbers={"trials": 12_345})
    line = "| 18 | a day in fast motion | 9 | 8 (1 skipped) | 12,345 trials | 2000-01-01 |"
    keep(18, new)
    assert kept()[18] == new
    assert (tmp_path / DOCUMENT.name).read_text(encoding="utf-8") == before.replace(old.line(18), line)
