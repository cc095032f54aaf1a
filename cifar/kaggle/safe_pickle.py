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

Memory: no more than a small multiple of the file's size, whatever lengths and shapes it claims.

Source of the format: the comments of CPython's `pickletools`, whose readers decode the opcodes' arguments.
"""

from __future__ import annotations

import codecs
import io
import math
import pickletools
import re
import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from cifar.errors import DataError

HIGHEST_PROTOCOL = 5
INT_BITS = 64
"""Longer integers are no use in a data set, cannot always be printed, and as keys can be made to collide."""
MAX_DIMS = 32
MAX_DIM = 2**31

MEMORY_ORDERS = {("C", type(None)), ("F", type(None)), ("K", tuple)}
MAX_CODE_POINT = 0x10FFFF

DTYPE_NAME = re.compile(r"b1|[iu][1248]|f[248]|c(8|16)|[SU][1-9][0-9]{0,8}")

GLOBALS = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("numpy.core.multiarray", "_reconstruct"): "_reconstruct",
    ("numpy._core.multiarray", "_reconstruct"): "_reconstruct",
    ("numpy.core.multiarray", "scalar"): "scalar",
    ("numpy._core.multiarray", "scalar"): "scalar",
    ("numpy.core.numeric", "_frombuffer"): "_frombuffer",
    ("numpy._core.numeric", "_frombuffer"): "_frombuffer",
    ("_codecs", "encode"): "encode",
    ("__builtin__", "bytes"): "bytes",
    ("builtins", "bytes"): "bytes",
}
"""What numpy and Python 3 name in pickles of plain data (since numpy 2 its core is `numpy._core`)."""

READING_ERRORS = (ValueError, LookupError, TypeError, OverflowError, RecursionError, struct.error)
"""What the machine itself raises on garbage: an empty stack, an unknown memo key, too few arguments."""

PLAIN_TYPES = frozenset({type(None), bool, int, float, complex, str, bytes, np.ndarray})

Array = npt.NDArray[Any]


def load(stream: BinaryIO) -> object:
    """The one pickled object that a stream holds, to its end.

    Args:
        stream: an open binary file; read to the end, never seeked.

    Raises:
        DataError: the stream is not one whole pickle, or holds something other than plain data.
    """
    data = stream.read()
    try:
        result = _Machine(len(data)).run(io.BytesIO(data))
    except READING_ERRORS as error:
        raise _damaged(f"{type(error).__name__}: {_shown(str(error))}") from error
    _check_plain(result)
    return result


def _shown(text: str) -> str:
    """Text from the file, safe for a terminal and not too long for a line."""
    return ascii(text)[1:-1][:120]


def _damaged(got: str) -> DataError:
    return DataError("a pickle must be whole and well formed", got=got, remedy="Download or copy the file again")


def _forbidden(got: str) -> DataError:
    return DataError(
        "a pickle may hold only dicts, lists, tuples, numbers, text and plain numpy arrays",
        got=got,
        remedy="Nothing in it was run; if you trust its author, ask for a file of plain arrays",
    )


@dataclass(frozen=True, slots=True)
class _Global:
    """A name that the file refers to: one of the values of `GLOBALS`. It is never called."""

    name: str


@dataclass(eq=False, slots=True)
class _Unbuilt:
    """An array or dtype whose BUILD opcode is still to come; the memo places that refer to it change then."""

    dtype: np.dtype[Any] | None
    """The dtype without its byte order; None for an array."""
    memo_keys: list[int] = field(default_factory=list)


class _Machine:
    """The stack machine. Each opcode is one entry of `STEPS`, called with the machine and its argument.

    Args:
        size: of the pickle in bytes. No more than twice that (text -> bytes -> array) is copied out of it,
            so that one buffer which many arrays refer to is no way to fill the memory.
    """

    def __init__(self, size: int) -> None:
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self._bytes_left = 2 * size

    def run(self, stream: io.BytesIO) -> Any:
        for opcode, argument in _opcodes(stream):
            if opcode not in STEPS:
                named = "" if argument is None else f" {_shown(str(argument))}"
                raise _forbidden(f"the opcode {opcode}{named}")
            STEPS[opcode](self, argument)
        if len(self.stack) != 1 or self.outer:
            raise _damaged(f"{len(self.stack)} objects left at the end")
        return self.stack.pop()

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def push_int(self, value: int) -> None:
        if value.bit_length() > INT_BITS:
            raise _forbidden(f"an integer of {value.bit_length()} bits (more than {INT_BITS})")
        self.push(value)

    def push_tuple(self, length: int) -> None:
        if len(self.stack) < length:
            raise _damaged(f"a tuple of {length} with {len(self.stack)} items")
        items = self.stack[-length:]
        self.stack[-length:] = [tuple(items)]

    def push_global(self, module: object, name: object) -> None:
        known = GLOBALS.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None
        if known is None:
            raise _forbidden(f"the global {_shown(f'{module}.{name}')}")
        self.push(_Global(known))

    def push_stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.push_global(module, name)

    def mark(self) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        """The items since the last mark."""
        items, self.stack = self.stack, self.outer.pop()
        return items

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise _forbidden(f"items appended to a {type(target).__name__}")
        target.extend(items)

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            raise _forbidden(f"items set in a {type(target).__name__}")
        for key, value in _pairs(items):
            target[key] = value

    def memoize(self, key: int) -> None:
        value = self.memo[key] = self.stack[-1]
        if isinstance(value, _Unbuilt):
            value.memo_keys.append(key)

    def reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Global) or type(arguments) is not tuple or function.name not in CALLS:
            raise _forbidden(f"a call of {_described(function)}")
        self.push(CALLS[function.name](self, *arguments))

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack.pop()
        if not isinstance(target, _Unbuilt):
            raise _forbidden(f"a state set on {_described(target)}")
        built = self._built_array(state) if target.dtype is None else _ordered(target.dtype, state)
        for key in target.memo_keys:
            if self.memo[key] is target:
                self.memo[key] = built
        self.push(built)

    def _built_array(self, state: Any) -> Array:
        _version, shape, dtype, fortran_order, data = state
        return self.array(data, dtype, shape, "F" if fortran_order else "C")

    def array(self, data: Any, dtype: Any, shape: Any, order: str) -> Array:
        """A writable array of its own memory; `order` is C or F."""
        _check_parts(data, dtype, shape)
        self.spend(len(data))
        flat = np.frombuffer(bytearray(data), dtype=dtype)
        _check_text(flat)
        return flat.reshape(shape, order="F" if order == "F" else "C")

    def spend(self, size: int) -> None:
        """Counts bytes that are copied out of the file."""
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise _forbidden("arrays that together are larger than the file")


# What the globals stand for: functions of our own, called with whatever arguments the file gives.


def _new_dtype(_machine: _Machine, name: Any, _align: Any = False, _copy: Any = True) -> _Unbuilt:
    text = name.decode("ascii") if type(name) is bytes else name
    if type(text) is not str or not DTYPE_NAME.fullmatch(text):
        raise _forbidden(f"a numpy array of dtype {_shown(str(text)) if type(text) is str else _described(text)}")
    return _Unbuilt(np.dtype(text))


def _new_array(_machine: _Machine, kind: Any, _shape: Any, _typecode: Any) -> _Unbuilt:
    """What numpy's `_reconstruct` would make; this shape is ignored, the BUILD opcode brings the real one."""
    if kind != _Global("ndarray"):
        raise _forbidden(f"an array of type {_described(kind)}")
    return _Unbuilt(None)


def _scalar(machine: _Machine, dtype: Any, data: Any) -> Any:
    return machine.array(data, dtype, (), "C").item()


def _from_buffer(machine: _Machine, data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> Array:
    """The array of a protocol 5 pickle; with order K, `shape` is the buffer's and its axes are permuted."""
    if type(order) is not str or (order, type(axes)) not in MEMORY_ORDERS:
        raise _damaged("an array of unknown memory order")
    array = machine.array(data, dtype, shape, order)
    return array.transpose(axes) if order == "K" else array


def _encode(machine: _Machine, text: Any, encoding: Any) -> bytes:
    """Bytes that Python 3 wrote to a protocol 0, 1 or 2 pickle as latin-1 text."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise _forbidden(f"a call of _codecs.encode on {_described(text)}")
    machine.spend(len(text))
    return text.encode("latin-1")


def _empty_bytes(_machine: _Machine) -> bytes:
    return b""


CALLS: dict[str, Callable[..., Any]] = {
    "dtype": _new_dtype,
    "_reconstruct": _new_array,
    "scalar": _scalar,
    "_frombuffer": _from_buffer,
    "encode": _encode,
    "bytes": _empty_bytes,
}


def _ordered(dtype: np.dtype[Any], state: Any) -> np.dtype[Any]:
    """The dtype in the byte order of its pickled state, which must hold no fields, sub-array or metadata."""
    version, order, subarray, names, fields, item_size, _alignment, _flags = state
    order = order.decode("ascii") if type(order) is bytes else order
    if version != 3 or (subarray, names, fields) != (None, None, None):
        raise _forbidden("a structured numpy dtype")
    if order not in ("<", ">", "|", "=") or (order == "|") != (dtype.byteorder == "|"):
        raise _damaged(f"a dtype {dtype} of unknown byte order")
    if item_size not in (-1, dtype.itemsize):
        raise _damaged(f"a dtype {dtype} of another item size")
    return np.dtype(f"{order}{dtype.str[1:]}")


def _check_parts(data: Any, dtype: Any, shape: Any) -> None:
    """The bytes of an array must be exactly those its dtype and shape need."""
    if type(data) is not bytes or not isinstance(dtype, np.dtype):
        raise _forbidden(f"an array of {_described(data)} with dtype {_described(dtype)}")
    if type(shape) is not tuple or not all(type(dim) is int and 0 <= dim < MAX_DIM for dim in shape):
        raise _damaged("an array whose shape is not a tuple of sizes")
    if len(shape) > MAX_DIMS:
        raise _damaged(f"an array of {len(shape)} dimensions")
    needed = math.prod(shape) * dtype.itemsize
    if needed != len(data):
        raise _damaged(f"an array {shape} of {dtype} with {len(data)} bytes instead of {needed}")


def _check_text(array: Array) -> None:
    """Text must be of Unicode code points: numpy would fail later, when it is read."""
    if array.dtype.kind == "U" and array.size:
        code_points = array.view(array.dtype.byteorder.replace("|", "=") + "u4")
        if code_points.max() > MAX_CODE_POINT:
            raise _damaged("an array of text that is not Unicode")


def _described(value: Any) -> str:
    if isinstance(value, _Global):
        return f"the global {value.name}"
    return "an unfinished array or dtype" if isinstance(value, _Unbuilt) else f"a {type(value).__name__}"


def _pairs(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Keys and values; keys of other types could make hashing slow or recurse without end."""
    if len(items) % 2:
        raise _damaged("a dict with a key and no value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) not in (str, bytes, int):
            raise _forbidden(f"a dict key that is {_described(key)}")
        yield key, value


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
                raise _forbidden(_described(value))
        elif id(value) in open_:
            raise _forbidden(f"a {type(value).__name__} that contains itself")
        elif id(value) not in closed:
            open_.add(id(value))
            pending.append((value, True))
            pending.extend((item, False) for item in (value.values() if type(value) is dict else value))


# Opcodes and their arguments.


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
    "GLOBAL": _read_two_lines,
    "INST": lambda stream: ".".join(_read_two_lines(stream)),
    "PERSID": _read_line,
}
"""Instead of `pickletools`' own: bytes where it makes str or bytearray, and names without unescaping."""


def _opcodes(stream: io.BytesIO) -> Iterator[tuple[str, Any]]:
    """Name and argument of each opcode up to STOP, which must be the last byte."""
    while code := stream.read(1):
        if code not in OPCODES:
            raise _damaged(f"the byte 0x{code.hex()} where an opcode must be")
        opcode = OPCODES[code]
        if opcode.name == "STOP":
            break
        reader = READERS.get(opcode.name) or (opcode.arg.reader if opcode.arg else None)
        yield opcode.name, reader(stream) if reader else None
    else:
        raise _damaged("a file that ends too early")
    if stream.read(1):
        raise _damaged("more bytes after the end of the pickle")


def _check_protocol(protocol: int) -> None:
    if protocol > HIGHEST_PROTOCOL:
        raise _damaged(f"protocol {protocol} (known: 0 to {HIGHEST_PROTOCOL})")


PUSHED_AS_THEY_ARE = (
    *("FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)

STEPS: dict[str, Callable[[_Machine, Any], object]] = {
    "PROTO": lambda _machine, protocol: _check_protocol(protocol),
    "FRAME": lambda _machine, _size: None,  # a hint for reading ahead
    **dict.fromkeys(PUSHED_AS_THEY_ARE, lambda machine, value: machine.push(value)),
    **dict.fromkeys(
        ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
        lambda machine, value: machine.push_int(value),
    ),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE1": lambda machine, _: machine.push_tuple(1),
    "TUPLE2": lambda machine, _: machine.push_tuple(2),
    "TUPLE3": lambda machine, _: machine.push_tuple(3),
    "MARK": lambda machine, _: machine.mark(),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_mark())),
    "LIST": lambda machine, _: machine.push(machine.pop_mark()),
    "DICT": lambda machine, _: machine.push(dict(_pairs(machine.pop_mark()))),
    "APPEND": lambda machine, _: machine.extend([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.pop_mark()),
    "SETITEM": lambda machine, _: machine.update([machine.stack.pop(-2), machine.stack.pop()]),
    "SETITEMS": lambda machine, _: machine.update(machine.pop_mark()),
    "POP": lambda machine, _: machine.stack.pop(),
    "POP_MARK": lambda machine, _: machine.pop_mark(),
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    "GET": lambda machine, key: machine.push(machine.memo[key]),
    "BINGET": lambda machine, key: machine.push(machine.memo[key]),
    "LONG_BINGET": lambda machine, key: machine.push(machine.memo[key]),
    "PUT": lambda machine, key: machine.memoize(key),
    "BINPUT": lambda machine, key: machine.memoize(key),
    "LONG_BINPUT": lambda machine, key: machine.memoize(key),
    "MEMOIZE": lambda machine, _: machine.memoize(len(machine.memo)),
    "GLOBAL": lambda machine, names: machine.push_global(*names),
    "STACK_GLOBAL": lambda machine, _: machine.push_stack_global(),
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
}
"""The opcodes that plain data needs. Absent on purpose: PERSID, BINPERSID, INST, OBJ, NEWOBJ, NEWOBJ_EX,
EXT1, EXT2, EXT4 (other ways to name and call things), NEXT_BUFFER, READONLY_BUFFER, and the sets."""
