"""Downloads that cannot hang."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

TIMEOUT = 30.0  # seconds without an answer after which a download has failed


@contextmanager
def socket_timeout() -> Iterator[None]:
    """Torchvision and torch.hub set no timeout: a silent server would hold the program forever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
