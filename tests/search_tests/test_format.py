"""Numbers as a person reads them."""

from __future__ import annotations

import pytest

from search.format import format_duration


@pytest.mark.parametrize(
    ("seconds", "words"), [(9, "9 s"), (570, "9 min 30 s"), (4000, "1 h 6 min"), (200_000, "2 d 7 h")]
)
def test_spoken(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words
