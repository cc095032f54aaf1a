"""Errors that a user can cause and mend.

UserError                 one line: rule, value received, remedy; commands print it and exit with status 2
├── DataError             a data set is missing, damaged, or in no accepted form
├── ConfigError           a network or recipe setting has a wrong key, type or value
├── InfeasibleError       a hard limit (parameters, MACs) cannot be met
├── CheckpointError       a weights or checkpoint file is missing, damaged, or of another network
└── SubmissionError       a Kaggle pickle or sample submission is not what it must be
Diverged                  the training loss became NaN or infinite: ends a trial, never a study
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self, TypeVar

E = TypeVar("E", bound="UserError")


class UserError(Exception):
    """A mistake in what the user gave, described in one line.

    Args:
        rule: what has to hold, as a sentence without a full stop ("the limit must be a positive number").
        got: the value received; shown as it is.
        remedy: what to do instead, as a sentence without a full stop.
    """

    def __init__(self, rule: str, *, got: object, remedy: str) -> None:
        super().__init__(" ".join(f"{rule}; got {got}. {remedy}.".split()))

    def __reduce__(self) -> tuple[Callable[..., UserError], tuple[type[UserError], str]]:
        return _with_message, (type(self), str(self))  # so that errors cross process borders

    def within(self, where: str) -> Self:
        """The same error, its message preceded by where it arose, such as a file's name."""
        return _with_message(type(self), f"{where}: {self}")


def _with_message(cls: type[E], message: str) -> E:
    error = cls.__new__(cls)
    error.args = (message,)
    return error


class DataError(UserError):
    """A data set is missing, damaged, or in no accepted form."""


class ConfigError(UserError):
    """A network or recipe setting has a wrong key, type or value."""


class InfeasibleError(UserError):
    """A hard limit (parameters, multiply-accumulates) cannot be met."""


class CheckpointError(UserError):
    """A weights or checkpoint file is missing, damaged, or of another network."""


class SubmissionError(UserError):
    """A Kaggle pickle or sample submission is not what it must be."""


class Diverged(Exception):
    """The training loss became NaN or infinite: the trial ends with this reason, the study continues."""


@contextmanager
def fitting_torchvision(kind: type[UserError], purpose: str) -> Iterator[None]:
    """For the import of torchvision in the block: missing, or built for another torch, it becomes one clear line.

    Args:
        kind: class of the error raised.
        purpose: what needs torchvision.
    """
    try:
        yield
    except (ImportError, RuntimeError) as error:  # "operator torchvision::nms does not exist" is a RuntimeError
        raise kind(
            f"{purpose} needs a torchvision that fits torch",
            got=error,
            remedy="Install both in one command from one index: pip install --upgrade torch torchvision",
        ) from None
