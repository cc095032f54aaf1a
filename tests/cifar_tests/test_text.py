"""Text that others wrote, on one line and obeyed by no terminal."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cifar.text import printable


def test_names_are_shown_without_obeying_them() -> None:
    assert printable(Path("a\x1b[31m\n.png")) == r"a\x1b[31m\n.png"
    assert printable(Path("çat \N{CAT}.png")) == "çat \N{CAT}.png"
    assert printable(os.fsdecode(b"\xff.png")) == r"\udcff.png"
    assert printable("\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe") == r"\u202egpj.exe"


def test_long_text_is_cut() -> None:
    assert printable("\n" * 10**6, 5) == r"\n\n" + "\\"
    assert printable("abc", 3) == "abc"


@given(st.text(alphabet=st.characters()), st.integers(0, 20) | st.none())
def test_anything_becomes_one_printable_line(text: str, limit: int | None) -> None:
    result = printable(text, limit)
    assert result.isprintable()
    assert limit is None or len(result) <= limit
    if text.isprintable():
        assert result == text[:limit]
