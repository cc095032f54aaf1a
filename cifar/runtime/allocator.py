"""Freed memory stays with the process, so that each training step finds the last step's pages again.

glibc hands every large tensor that is freed back to the system, and the next step pays for the same pages once more:
each is zeroed by the kernel at its first touch (a page fault). A step of a small network had thousands of them.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

# malloc.h and mallopt(3)
M_TRIM_THRESHOLD = -1  # bytes free at the end of the heap from which on they go back
M_MMAP_MAX = -4  # allocations that may be mappings of their own, which go back when they are freed
LARGEST_INT = 2**31 - 1


@cache  # the setting is the process's, and of use from the first training on
def keep_freed_memory() -> bool:
    """Makes malloc keep freed memory for the rest of the process; returns whether this system's malloc can.

    The process's memory then stays near its peak. Where the C library is not glibc this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    # none, rather than those from a threshold on: glibc takes no threshold above 32 MiB, and activations are larger
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, LARGEST_INT))
    done = [mallopt(name, value) for name, value in settings]
    return done == [1, 1]
