"""What a pickle's stack may hold besides plain data while it is read, and the two ways to refuse a pickle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cifar.errors import DataError
from cifar.text import printable

EXCERPT = 120
"""Characters that an error shows of text in the file, at most."""


@dataclass(frozen=True, slots=True)
class Global:
    """A name that the file refers to: one of the values of `GLOBALS`. It is never called."""

    name: str
    """One of the values of `GLOBALS`, such as `ndarray`."""


@dataclass(eq=False, slots=True)
class Unbuilt:
    """An array or dtype whose BUILD opcode is still to come; the memo places that refer to it change then."""

    dtype: np.dtype[Any] | None
    """The dtype without its byte order; None for an array."""
    memo_keys: list[int] = field(default_factory=list)
    """The places of the memo."""


def described(value: Any) -> str:
    """What a value is, for errors; its content is not shown."""
    if isinstance(value, Global):
        return f"the global {value.name}"
    return "an unfinished array or dtype" if isinstance(value, Unbuilt) else f"a {type(value).__name__}"


def excerpt(text: object) -> str:
    """Text from the file, for errors."""
    return printable(text, EXCERPT)


def damaged(got: str) -> DataError:
    """The error for bytes that are no whole pickle."""
    return DataError("a pickle must be whole and well formed", got=got, remedy="Download or copy the file again")


def forbidden(got: str) -> DataError:
    """The error for a pickle that holds something other than plain data."""
    return DataError(
        "a pickle may hold only dicts, lists, tuples, numbers, text and plain numpy arrays",
        got=got,
        remedy="Nothing in it was run; if you trust its author, ask for a file of plain arrays",
    )
