"""Ray's processes on this machine, kept apart from signals that are meant for the driver."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_apart = threading.Event()


@contextmanager
def in_groups_of_their_own() -> Iterator[None]:
    """Within the block Ray's processes leave the group of this one, so that a signal to the group reaches this alone.

    Otherwise SIGTERM to the group, as `timeout` sends it, would end Ray under a search that is about to pause its
    trials. Ray starts processes with a `preexec_fn`, before which Python calls what is registered for forks.
    """
    _watch_forks()
    _apart.set()
    try:
        yield
    finally:
        _apart.clear()


@cache
def _watch_forks() -> None:
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=_leave_group)


def _leave_group() -> None:
    if _apart.is_set():
        os.setpgrp()
