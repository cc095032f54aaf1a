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
    return f"{count:,} epoch{'s' * (count != 1)}"


def format_trials(count: int) -> str:
    """A number of trials, such as `1 trial` or `9 trials`."""
    return f"{count:,} trial{'s' * (count != 1)}"


def format_ordinal(number: int) -> str:
    """A place, such as `2nd` or `13th`."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def format_numbers(numbers: Sequence[int], most: int = 12) -> str:
    """The first of some numbers, and how many more there are: `3, 17 and 5 more` where `most` is 2."""
    more = f" and {len(numbers) - most} more" if len(numbers) > most else ""
    return ", ".join(map(str, numbers[:most])) + more


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


def format_percent(share: float, digits: int = 2, *, unit: str = " %") -> str:
    """A share in [0, 1] as a percentage, such as `87.06 %`.

    Args:
        share: the share.
        digits: digits after the point.
        unit: what stands behind the number; empty where a heading names the unit.
    """
    return f"{100 * share:.{digits}f}{unit}"


def format_range(low: float, high: float, digits: int = 2, *, between: str = " to ") -> str:
    """Two shares in [0, 1] as percentages without the sign, such as `86.39 to 87.70`."""
    return f"{100 * low:.{digits}f}{between}{100 * high:.{digits}f}"


def format_points(difference: float, digits: int = 2) -> str:
    """A difference of two shares in percentage points, with its sign; nothing is -0."""
    return f"{round(100 * difference, digits) + 0.0:+.{digits}f}"


def format_points_range(low: float, high: float, digits: int = 2) -> str:
    """An interval of such a difference, such as `-0.31 to +1.20`."""
    return f"{format_points(low, digits)} to {format_points(high, digits)}"


def format_p_value(p: float) -> str:
    """A test's p-value, such as `p = 0.031` or `p < 0.0001`."""
    if p < 1e-4:
        return "p < 0.0001"
    return f"p = {p:.4f}" if p < 0.01 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def format_probability(probability: float) -> str:
    """A probability as a whole percentage, never rounded up to certainty or down to impossibility."""
    if probability >= 0.995:
        return ">\u00a099\u00a0%"
    return "<\u00a01\u00a0%" if probability < 0.005 else format_percent(probability, 0, unit="\u00a0%")


def format_lr(lr: float | str) -> str:
    """A learning rate, such as `0.0123`; the name of the way it is found stays as it is."""
    return lr if isinstance(lr, str) else f"{lr:.3g}"


def format_millions(count: int, digits: int = 1, *, space: str = " ") -> str:
    """A large count, such as `769.3 M`."""
    return f"{count / 1e6:,.{digits}f}{space}M"
