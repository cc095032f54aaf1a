"""Arrays and dtypes built from a pickle's bytes by `numpy.frombuffer`, after everything about them is checked."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from cifar.safe_pickle.objects import Unbuilt, damaged, described, excerpt, forbidden

MAX_DIMS = 32
MAX_DIM = 2**31
MAX_CODE_POINT = 0x10FFFF

DTYPE_NAME = re.compile(r"b1|[iu][1248]|f[248]|c(8|16)|[SU][1-9][0-9]{0,8}")

Array = npt.NDArray[Any]


class Arrays:
    """Builds a pickle's arrays, and counts the bytes that are copied for them.

    Args:
        size: size of the pickle in bytes. No more than twice that (text -> bytes -> array) is copied out of it,
            so that one buffer which many arrays refer to is no way to fill the memory.
    """

    def __init__(self, size: int) -> None:
        self._bytes_left = 2 * size

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
            raise forbidden("arrays that together are larger than the file")


def new_dtype(name: Any) -> Unbuilt:
    """The dtype of a name such as `u1`, still without its byte order."""
    text = name.decode("ascii") if type(name) is bytes else name
    if type(text) is not str or not DTYPE_NAME.fullmatch(text):
        raise forbidden(f"a numpy array of dtype {excerpt(text) if type(text) is str else described(text)}")
    return Unbuilt(np.dtype(text))


def in_byte_order(dtype: np.dtype[Any], state: Any) -> np.dtype[Any]:
    """The dtype in the byte order of its pickled state, which must hold no fields, sub-array or metadata."""
    version, order, subarray, names, fields, item_size, _alignment, _flags = state
    order = order.decode("ascii") if type(order) is bytes else order
    if version != 3 or (subarray, names, fields) != (None, None, None):
        raise forbidden("a structured numpy dtype")
    if order not in ("<", ">", "|", "=") or (order == "|") != (dtype.byteorder == "|"):
        raise damaged(f"a dtype {dtype} of unknown byte order")
    if item_size not in (-1, dtype.itemsize):
        raise damaged(f"a dtype {dtype} of another item size")
    return np.dtype(f"{order}{dtype.str[1:]}")


def _check_parts(data: Any, dtype: Any, shape: Any) -> None:
    """The bytes of an array must be exactly those its dtype and shape need."""
    if type(data) is not bytes or not isinstance(dtype, np.dtype):
        raise forbidden(f"an array of {described(data)} with dtype {described(dtype)}")
    if type(shape) is not tuple or not all(type(dim) is int and 0 <= dim < MAX_DIM for dim in shape):
        raise damaged("an array whose shape is not a tuple of sizes")
    if len(shape) > MAX_DIMS:
        raise damaged(f"an array of {len(shape)} dimensions")
    needed = math.prod(shape) * dtype.itemsize
    if needed != len(data):
        raise damaged(f"an array {shape} of {dtype} with {len(data)} bytes instead of {needed}")


def _check_text(array: Array) -> None:
    """Text must be of Unicode code points: numpy would fail later, when it is read."""
    if array.dtype.kind == "U" and array.size:
        code_points = array.view(array.dtype.byteorder.replace("|", "=") + "u4")
        if code_points.max() > MAX_CODE_POINT:
            raise damaged("an array of text that is not Unicode")
