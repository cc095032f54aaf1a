"""What exceptions of a space say: in one line, and whether they tell of too little memory."""

from __future__ import annotations

import re

import torch

NO_MEMORY = re.compile("out of memory|can't allocate memory|not enough memory", re.IGNORECASE)
"""What PyTorch says where it raises a RuntimeError; the middle one is of its allocator of the CPU."""


def lacks_memory(error: Exception) -> bool:
    """Whether an exception says that there is not enough memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(NO_MEMORY.search(str(error)))


def described(error: BaseException) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
