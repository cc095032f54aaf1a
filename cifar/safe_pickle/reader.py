"""Reads pickles of plain data from strangers without running anything in them.

A pickle is a program for a stack machine. `pickle.load` lets that program import and call whatever it names;
here it runs on a machine of our own, which knows only the opcodes that plain data needs. Nothing is imported,
called or given attributes on the word of the file: the few globals that numpy writes ("numpy.ndarray", ...)
are inert names, and the arrays are built by `numpy.frombuffer` here, from checked dtype, shape and bytes.

    accepted   dict (keys: str, bytes, int), list, tuple, None, bool, int (64 bits), float, complex, str,
               bytes, and numpy arrays of bool, integer, float, complex or fixed-width text, without
               subclasses, fields or objects (numpy scalars become Python's)
    protocols  0 to 5; `str` of Python 2 (the official CIFAR-10 batches) becomes bytes, a bytearray too
    refused    every other global and opcode, objects that contain themselves, damaged or truncated files

Memory: no more than a small multiple of the file's size, whatever lengths and shapes it claims; at most a gigabyte, by
`MOST_BYTES` and `cifar.safe_pickle.machine.MOST_OPCODES`.
"""

from __future__ import annotations

import io
import struct
from typing import Any, BinaryIO

import numpy as np

from cifar.safe_pickle.machine import Machine
from cifar.safe_pickle.objects import damaged, described, excerpt, forbidden

READING_ERRORS = (ValueError, LookupError, TypeError, OverflowError, RecursionError, struct.error)
"""What the machine itself raises on garbage: an empty stack, an unknown memo key, too few arguments."""

MOST_BYTES = 160 * 2**20
"""Bytes of a pickle at most: 50,000 images of CIFAR-10's size are 154 million. Text takes up to four times as much."""

PLAIN_TYPES = frozenset({type(None), bool, int, float, complex, str, bytes, np.ndarray})


def load_plain(stream: BinaryIO) -> object:
    """The one pickled object that a stream holds, to its end.

    Args:
        stream: an open binary file; read to the end, never seeked.

    Raises:
        DataError: the stream is not one whole pickle, or holds something other than plain data.
    """
    data = stream.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise forbidden(f"more than {MOST_BYTES // 2**20} MiB")
    try:
        result = Machine(len(data)).run(io.BytesIO(data))
    except READING_ERRORS as error:
        raise damaged(f"{type(error).__name__}: {excerpt(error)}") from error
    _check_plain(result)
    return result


def _check_plain(root: object) -> None:
    """Refuses leftovers of the machine, and objects that contain themselves; walks without recursion."""
    open_: set[int] = set()
    closed: set[int] = set()
    pending: list[tuple[Any, bool]] = [(root, False)]
    while pending:
        value, leaving = pending.pop()
        if leaving:
            open_.remove(id(value))
            closed.add(id(value))
        elif type(value) not in (dict, list, tuple):
            if type(value) not in PLAIN_TYPES:
                raise forbidden(described(value))
        elif id(value) in open_:
            raise forbidden(f"a {type(value).__name__} that contains itself")
        elif id(value) not in closed:
            open_.add(id(value))
            pending.append((value, True))
            pending.extend((item, False) for item in (value.values() if type(value) is dict else value))
