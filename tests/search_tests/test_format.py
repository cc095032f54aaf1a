"""Numbers as a person reads them."""

from __future__ import annotations

import pytest

from search.format import (
    format_bytes,
    format_count,
    format_duration,
    format_epochs,
    format_limits,
    format_millions,
    format_numbers,
    format_ordinal,
    format_value,
)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1200, "1.2 kB"),
        (99_400, "99 kB"),
        (2_500_000, "2.5 MB"),
        (999_600, "1 MB"),
        (120_000_000, "120 MB"),
        (3 * 10**9, "3 GB"),
    ],
)
def test_bytes(count: int, expected: str) -> None:
    assert format_bytes(count) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (570, "9 min 30 s"), (7199.9, "2 h 0 min"), (90_000, "1 d 1 h")],
)
def test_durations(seconds: float, expected: str) -> None:
    assert format_duration(seconds) == expected


def test_limits() -> None:
    assert format_limits((5,)) == "5"
    assert format_limits((300_000, 1_000_000)) == "300,000 or 1,000,000"
    assert format_limits((300_000, 1_000_000, 5_000_000)) == "300,000, 1,000,000 or 5,000,000"


def test_counts() -> None:
    assert (format_count(5_000_000), format_count(None), format_count(None, missing="")) == ("5,000,000", "-", "")
    assert (format_millions(40_460_000), format_millions(40_460_000, space="")) == ("40.5 M", "40.5M")
    assert [format_epochs(n) for n in (0, 1, 2)] == ["0 epochs", "1 epoch", "2 epochs"]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1, "1st"),
        (2, "2nd"),
        (3, "3rd"),
        (4, "4th"),
        (11, "11th"),
        (12, "12th"),
        (13, "13th"),
        (21, "21st"),
        (112, "112th"),
    ],
)
def test_ordinals(number: int, expected: str) -> None:
    assert format_ordinal(number) == expected


def test_values() -> None:
    assert format_value(0.8706, percent=True) == "87.06 %"
    assert format_value(0.296294, percent=False) == "0.29629"
    assert format_value(None, percent=True) == ""


@pytest.mark.parametrize(
    ("numbers", "expected"), [([], ""), ([3], "3"), ([3, 17], "3, 17"), ([3, 17, 4, 5], "3, 17 and 2 more")]
)
def test_numbers(numbers: list[int], expected: str) -> None:
    assert format_numbers(numbers, most=2) == expected
