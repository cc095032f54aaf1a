"""How numbers are written for a person; the one place for it."""

from __future__ import annotations

from collections.abc import Sequence


def format_duration(seconds: float) -> str:
    """A duration for a person, such as `9 min 30 s`."""
    whole = round(seconds)
    days, hours, minutes, rest = whole // 86400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def format_bytes(count: int) -> str:
    """A size for a person, such as `1.2 MB`."""
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.0f} {units[0]}" if units[0] == "B" or size >= 99.5 else f"{size:.2g} {units[0]}"


def format_count(count: int | None, missing: str = "-") -> str:
    """A number of things, such as `5,000,000`; `missing` for None."""
    return missing if count is None else f"{count:,}"


def format_epochs(count: int) -> str:
    """A number of epochs, such as `1 epoch` or `9 epochs`."""
    return f"{count} epoch{'s' * (count != 1)}"


def format_ordinal(number: int) -> str:
    """A place, such as `2nd` or `13th`."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def format_limits(limits: Sequence[int]) -> str:
    """Limits for a person, such as `300,000, 1,000,000 or 5,000,000`."""
    names = [f"{limit:,}" for limit in limits]
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def format_value(value: float | None, percent: bool) -> str:
    """A trial's value for a person; empty for None.

    Args:
        value: the objective.
        percent: whether it is an accuracy in [0, 1].
    """
    if value is None:
        return ""
    return f"{100 * value:.2f} %" if percent else f"{value:.5g}"


def format_millions(count: int, digits: int = 1, *, space: str = " ") -> str:
    """A large count, such as `769.3 M`."""
    return f"{count / 1e6:,.{digits}f}{space}M"
