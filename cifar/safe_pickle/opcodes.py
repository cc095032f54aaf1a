"""The opcodes of a pickle and their arguments, one after the other.

Source of the format: the comments of CPython's `pickletools`, whose readers decode the opcodes' arguments.
"""

from __future__ import annotations

import codecs
import io
import pickletools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from cifar.safe_pickle.objects import damaged


def _read_line_of_bytes(stream: io.BytesIO) -> bytes:
    r"""A Python 2 `str` in protocol 0: a quoted literal such as 'a\x00\n'."""
    line = stream.readline().removesuffix(b"\n").strip()
    if len(line) < 2 or line[:1] not in (b"'", b'"') or line[-1:] != line[:1]:
        raise ValueError("a string without its quotes")
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        try:
            literal: Any = codecs.escape_decode(line[1:-1])[0]
        except DeprecationWarning as error:
            raise ValueError("a string with an invalid escape") from error
    return bytes(literal)


LONGEST_TEXT = 64 * 2**20
"""Bytes of a text at most: a single character can make Python keep four bytes of each, and one more on the way."""


def _read_text(length_bytes: int) -> Callable[[io.BytesIO], str]:
    """What reads UTF-8 after its length in so many bytes."""

    def read(stream: io.BytesIO) -> str:
        size = int.from_bytes(stream.read(length_bytes), "little")
        content = stream.read(_checked(size))
        if len(content) < size:
            raise ValueError(f"{len(content)} bytes of text instead of {size}")
        return content.decode("utf-8", "surrogatepass")

    return read


def _read_line_of_text(stream: io.BytesIO) -> str:
    """Text of protocol 0."""
    line = stream.readline(LONGEST_TEXT + 2)
    _checked(len(line) - 1)
    if not line.endswith(b"\n"):
        raise ValueError("a line without its end")
    return line[:-1].decode("raw-unicode-escape")


def _checked(size: int) -> int:
    if size > LONGEST_TEXT:
        raise ValueError(f"a text of more than {LONGEST_TEXT // 2**20} MiB")
    return size


OPCODES = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}


def _read_line(stream: io.BytesIO) -> str:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise ValueError("a line without its end")
    return line[:-1].decode("utf-8")


def _read_two_lines(stream: io.BytesIO) -> tuple[str, str]:
    return _read_line(stream), _read_line(stream)


READERS: dict[str, Callable[[io.BytesIO], Any]] = {
    "STRING": _read_line_of_bytes,
    "SHORT_BINSTRING": pickletools.read_bytes1,
    "BINSTRING": pickletools.read_bytes4,
    "BYTEARRAY8": pickletools.read_bytes8,
    "UNICODE": _read_line_of_text,
    "SHORT_BINUNICODE": _read_text(1),
    "BINUNICODE": _read_text(4),
    "BINUNICODE8": _read_text(8),
    "GLOBAL": _read_two_lines,
    "INST": lambda stream: ".".join(_read_two_lines(stream)),
    "PERSID": _read_line,
}
"""Instead of `pickletools`' own: bytes where it makes str or bytearray, names without unescaping, short texts."""


def opcodes(stream: io.BytesIO) -> Iterator[tuple[str, Any]]:
    """Name and argument of each opcode up to STOP, which must be the last byte."""
    while code := stream.read(1):
        if code not in OPCODES:
            raise damaged(f"the byte 0x{code.hex()} where an opcode must be")
        opcode = OPCODES[code]
        if opcode.name == "STOP":
            break
        reader = READERS.get(opcode.name) or (opcode.arg.reader if opcode.arg else None)
        yield opcode.name, reader(stream) if reader else None
    else:
        raise damaged("a file that ends too early")
    if stream.read(1):
        raise damaged("more bytes after the end of the pickle")
