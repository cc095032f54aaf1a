"""The allow-list: the globals that a pickle may name, and what each stands for.

They are functions of our own, called with whatever arguments the file gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cifar.safe_pickle.arrays import Array, Arrays, new_dtype
from cifar.safe_pickle.objects import Global, Unbuilt, damaged, described, forbidden

MEMORY_ORDERS = {("C", type(None)), ("F", type(None)), ("K", tuple)}

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


def _new_dtype(_arrays: Arrays, name: Any, _align: Any = False, _copy: Any = True) -> Unbuilt:
    return new_dtype(name)


def _new_array(_arrays: Arrays, kind: Any, _shape: Any, _typecode: Any) -> Unbuilt:
    """What numpy's `_reconstruct` would make; this shape is ignored, the BUILD opcode brings the real one."""
    if kind != Global("ndarray"):
        raise forbidden(f"an array of type {described(kind)}")
    return Unbuilt(None)


def _scalar(arrays: Arrays, dtype: Any, data: Any) -> Any:
    return arrays.array(data, dtype, (), "C").item()


def _from_buffer(arrays: Arrays, data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> Array:
    """The array of a protocol 5 pickle; with order K, `shape` is the buffer's and its axes are permuted."""
    if type(order) is not str or (order, type(axes)) not in MEMORY_ORDERS:
        raise damaged("an array of unknown memory order")
    array = arrays.array(data, dtype, shape, order)
    return array.transpose(axes) if order == "K" else array


def _encode(arrays: Arrays, text: Any, encoding: Any) -> bytes:
    """Bytes that Python 3 wrote to a protocol 0, 1 or 2 pickle as latin-1 text."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise forbidden(f"a call of _codecs.encode on {described(text)}")
    arrays.spend(len(text))
    return text.encode("latin-1")


def _empty_bytes(_arrays: Arrays) -> bytes:
    return b""


CALLS: dict[str, Callable[..., Any]] = {
    "dtype": _new_dtype,
    "_reconstruct": _new_array,
    "scalar": _scalar,
    "_frombuffer": _from_buffer,
    "encode": _encode,
    "bytes": _empty_bytes,
}
