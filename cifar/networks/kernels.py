"""C code for the CPU, compiled by the system's compiler once a machine and kept in the cache folder.

What is loaded runs as the user: the folder of kernels is the user's alone, and so is every file in it.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import stat
import subprocess
import sys
from pathlib import Path

from cifar.errors import UserError
from cifar.files import atomic_path
from cifar.runtime.cache_folder import cache_folder

FLAGS = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC")
COMPILE_SECONDS = 60.0  # half a second is usual
OWNER_ONLY = 0o700


def load_kernel(source: Path, flags: tuple[str, ...]) -> ctypes.CDLL | None:
    """The functions of a C file; None where they cannot be had, as without a compiler or a safe place to keep them.

    Args:
        source: the C file; may use OpenMP, and headers beside it.
        flags: of the compiler, besides `FLAGS`.
    """
    if not sys.platform.startswith("linux") or _openmp_libraries() != {"libgomp"}:
        return None
    try:
        kernel = ctypes.CDLL(str(_compiled(source, flags)))
    except (OSError, subprocess.SubprocessError, UserError, ValueError):  # the last where CC is no command line
        return None
    return kernel if _openmp_libraries() == {"libgomp"} else None  # Clang brings its own


def _openmp_libraries() -> set[str]:
    """Those that this process has loaded; each has threads of its own, which would wait for one another's cores."""
    loaded = Path("/proc/self/maps").read_text()
    return {name for name in ("libgomp", "libomp", "libiomp5") if f"/{name}" in loaded}


def _compiled(source: Path, flags: tuple[str, ...]) -> Path:
    """The shared library for this processor, compiled unless it lies in the folder of kernels.

    Raises:
        OSError, subprocess.SubprocessError: no compiler, it fails, or the folder is no place for a kernel.
        UserError: there is no cache folder.
    """
    command = [*shlex.split(os.environ.get("CC", "cc")), *FLAGS, *flags]
    sources = [source, *sorted(source.parent.glob("*.h"))]
    identity = [*(file.read_text() for file in sources), *command, platform.machine(), _processor()]
    name = f"{source.stem}-{hashlib.sha256(chr(0).join(identity).encode()).hexdigest()[:24]}.so"
    path = _kernel_folder() / name
    if not (path.exists() and _is_ours_alone(path)):
        with atomic_path(path) as compiled:  # whole or not at all, whoever else compiles
            line = [*command, str(source), "-o", str(compiled), "-lm"]
            subprocess.run(line, check=True, capture_output=True, timeout=COMPILE_SECONDS)
            compiled.chmod(OWNER_ONLY)  # the linker goes by the umask, which may let a group write
    return path


def _kernel_folder() -> Path:
    """The folder of kernels, made for the user alone if it is missing.

    Raises:
        OSError: it cannot be made, is another user's, or others may write to it.
        UserError: there is no cache folder.
    """
    folder = cache_folder() / "kernels"
    folder.mkdir(OWNER_ONLY, parents=True, exist_ok=True)
    if not _is_ours_alone(folder):
        raise PermissionError(f"{folder} must be the user's and writable by no other")
    return folder


def _is_ours_alone(path: Path) -> bool:
    """Whether it belongs to this user, and nobody else may write it."""
    found = path.stat()
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _processor() -> str:
    """What -march=native depends on: a home folder may be shared by several kinds of machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    kept = ("vendor_id", "cpu family", "model", "stepping", "flags", "CPU implementer", "CPU part", "Features")
    return "\n".join(sorted({line for line in lines if line.split("\t")[0].strip() in kept}))
