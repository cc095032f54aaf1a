"""The stack machine that a pickle is a program for, with only the opcodes that plain data needs."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

from cifar.safe_pickle.arrays import Array, Arrays, in_byte_order
from cifar.safe_pickle.calls import CALLS, GLOBALS
from cifar.safe_pickle.objects import Global, Unbuilt, damaged, described, excerpt, forbidden
from cifar.safe_pickle.opcodes import opcodes

HIGHEST_PROTOCOL = 5
INT_BITS = 64
"""Longer integers are no use in a data set, cannot always be printed, and as keys can be made to collide."""
MOST_OPCODES = 1_000_000
"""Opcodes of a pickle at most: a test set of 300,000 images with ids in words has 600,000.

An empty list is one byte in a pickle and a hundred in memory."""


class Machine:
    """The stack machine. Each opcode is one entry of `STEPS`, called with the machine and its argument.

    Args:
        size: size of the pickle in bytes, which bounds what its arrays may take.
    """

    def __init__(self, size: int) -> None:
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.arrays = Arrays(size)

    def run(self, stream: io.BytesIO) -> Any:
        """The object that the program in the stream makes."""
        for number, (opcode, argument) in enumerate(opcodes(stream)):
            if number == MOST_OPCODES:
                raise forbidden(f"more than {MOST_OPCODES:,} values and other opcodes")
            if opcode not in STEPS:
                named = "" if argument is None else f" {excerpt(str(argument))}"
                raise forbidden(f"the opcode {opcode}{named}")
            STEPS[opcode](self, argument)
        if len(self.stack) != 1 or self.outer:
            raise damaged(f"{len(self.stack)} objects left at the end")
        return self.stack.pop()

    def push(self, value: Any) -> None:
        """Puts a value on the stack."""
        self.stack.append(value)

    def push_int(self, value: int) -> None:
        """Puts an integer of at most `INT_BITS` on the stack."""
        if value.bit_length() > INT_BITS:
            raise forbidden(f"an integer of {value.bit_length()} bits (more than {INT_BITS})")
        self.push(value)

    def push_tuple(self, length: int) -> None:
        """Makes one tuple of the last items."""
        if len(self.stack) < length:
            raise damaged(f"a tuple of {length} with {len(self.stack)} items")
        items = self.stack[-length:]
        self.stack[-length:] = [tuple(items)]

    def push_global(self, module: object, name: object) -> None:
        """Puts the inert name of an allowed global on the stack."""
        known = GLOBALS.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None
        if known is None:
            raise forbidden(f"the global {excerpt(f'{module}.{name}')}")
        self.push(Global(known))

    def push_stack_global(self) -> None:
        """As `push_global`, of the last two items."""
        name, module = self.stack.pop(), self.stack.pop()
        self.push_global(module, name)

    def mark(self) -> None:
        """Begins a group of items."""
        self.outer.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        """The items since the last mark."""
        items, self.stack = self.stack, self.outer.pop()
        return items

    def extend(self, items: list[Any]) -> None:
        """Appends to the list on top."""
        target = self.stack[-1]
        if type(target) is not list:
            raise forbidden(f"items appended to a {type(target).__name__}")
        target.extend(items)

    def update(self, items: list[Any]) -> None:
        """Sets keys, each followed by its value, in the dict on top."""
        target = self.stack[-1]
        if type(target) is not dict:
            raise forbidden(f"items set in a {type(target).__name__}")
        for key, value in _pairs(items):
            target[key] = value

    def memoize(self, key: int) -> None:
        """Remembers the last item."""
        value = self.memo[key] = self.stack[-1]
        if isinstance(value, Unbuilt):
            value.memo_keys.append(key)

    def reduce(self) -> None:
        """Replaces an allowed global and its arguments by what our own function makes of them."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Global) or type(arguments) is not tuple or function.name not in CALLS:
            raise forbidden(f"a call of {described(function)}")
        self.push(CALLS[function.name](self.arrays, *arguments))

    def build(self) -> None:
        """Finishes an array or dtype with its state, in every place of the memo too."""
        state, target = self.stack.pop(), self.stack.pop()
        if not isinstance(target, Unbuilt):
            raise forbidden(f"a state set on {described(target)}")
        built = self._built_array(state) if target.dtype is None else in_byte_order(target.dtype, state)
        for key in target.memo_keys:
            if self.memo[key] is target:
                self.memo[key] = built
        self.push(built)

    def _built_array(self, state: Any) -> Array:
        _version, shape, dtype, fortran_order, data = state
        return self.arrays.array(data, dtype, shape, "F" if fortran_order else "C")


def _pairs(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Keys and values; keys of other types could make hashing slow or recurse without end."""
    if len(items) % 2:
        raise damaged("a dict with a key and no value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if type(key) not in (str, bytes, int):
            raise forbidden(f"a dict key that is {described(key)}")
        yield key, value


def _check_protocol(protocol: int) -> None:
    if protocol > HIGHEST_PROTOCOL:
        raise damaged(f"protocol {protocol} (known: 0 to {HIGHEST_PROTOCOL})")


PUSHED_AS_THEY_ARE = (
    *("FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)

STEPS: dict[str, Callable[[Machine, Any], object]] = {
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
