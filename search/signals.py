"""Signals that end a command: Ctrl-C, which sends SIGINT, and SIGTERM, which `kill` and schedulers of clusters send."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does; only its exit status is another."""


@contextmanager
def handled(handler: Callable[[KeyboardInterrupt], None]) -> Iterator[None]:
    """Hands signals that end a command to the handler; those that are ignored, as SIGINT in the background, stay so.

    Args:
        handler: is called by the main thread, between any two instructions; may raise what it is given.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        handler(Terminated() if number == signal.SIGTERM else KeyboardInterrupt())

    with _set({number: handle for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN}):
        yield


@contextmanager
def ignored() -> Iterator[None]:
    """Ignores signals that end a command."""
    with _set(dict.fromkeys(ENDING, signal.SIG_IGN)):
        yield


@contextmanager
def raised() -> Iterator[None]:
    """Raises a signal that ends a command, SIGTERM too, so that what has begun is put in order."""
    with handled(raise_):
        yield


def raise_(interrupt: KeyboardInterrupt) -> None:
    """Raises what it is given: the handler that ends everything at once."""
    raise interrupt


@contextmanager
def _set(handlers: dict[signal.Signals, Callable[[int, FrameType | None], None] | signal.Handlers]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only there can handlers be set
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
