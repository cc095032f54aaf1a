"""Text that others wrote, on one line and obeyed by no terminal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifar.text import printable, without_password


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:s3cret@host/db", "postgresql://me:***@host/db"),
        ("postgresql+psycopg://me:s3cret@host:5432/db?x=1", "postgresql+psycopg://me:***@host:5432/db?x=1"),
        ("postgresql://me:s3/cret@s3cret@host/db", "postgresql://me:***@host/db"),
        ("--storage=mysql://:s3cret@host/db", "--storage=mysql://:***@host/db"),
        ("postgresql://me@host/db?password=s3cret&x=1", "postgresql://me@host/db?password=***&x=1"),
        ("postgresql://host/db?x=1&sslPassword=s3cret", "postgresql://host/db?x=1&sslPassword=***"),
        ("://me:s3cret@[", "://me:***@["),
        ("got redis://u:s3cret@h (no postgresql://me:s3cret@h/d)", "got redis://u:***@h (no postgresql://me:***@h/d)"),
    ],
)
def test_passwords_of_urls_are_hidden(text: str, shown: str) -> None:
    assert without_password(text) == shown


@pytest.mark.parametrize("text", ["sqlite:///study.db", "postgresql://me@host:5432/db", "a: b@c.de", "study.journal"])
def test_what_holds_no_password_stays(text: str) -> None:
    assert without_password(text) == text
