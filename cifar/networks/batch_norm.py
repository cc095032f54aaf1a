"""Batch norm in training, with the addition and the ReLU that follow it, in one pass on a CPU.

PyTorch reads bfloat16 activations three times to normalise them, and again for each operation that follows;
`batch_norm.c` reads them twice: 1.9 to 5 times as fast (`benchmarks.throughput --only norm`, benchmarks/README.md). It
is compiled by the system's C compiler once a machine, in half a second. Where there is none, or the kernel does not
fit (other systems, devices, memory formats and few channels), PyTorch's own operations do the same.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import subprocess
import sys
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cifar.files import atomic_path
from cifar.runtime.cache_folder import cache_folder

SOURCE = Path(__file__).with_name("batch_norm.c")
FLAGS = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC")
DTYPE_FLAGS = {torch.bfloat16: ("-DBFLOAT16",), torch.float32: ()}
LANES = 16  # of the kernel's vectors: the least number of channels, and the number of elements is a multiple of it
COMPILE_SECONDS = 60.0  # half a second is usual


class Sequence(nn.Sequential):
    """As `nn.Sequential`, but a batch norm and the ReLU after it are one `norm_act`."""

    def forward(self, x: Tensor) -> Tensor:
        """The output of the last module."""
        done = None
        for module, following in zip_longest(self, list(self)[1:]):
            if isinstance(module, nn.BatchNorm2d):
                done = following if isinstance(following, nn.ReLU) else None
                x = norm_act(module, done, x)
            elif module is done:
                done = None
            else:
                x = module(x)
        return x


def norm_act(norm: nn.Module, act: nn.Module | None, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """`act(norm(x) + residual)`; in eval mode, and where the kernel does not fit, by PyTorch's own operations.

    Args:
        norm: an `nn.BatchNorm2d`; in training its running statistics move as they do in `norm(x)`.
        act: the activation; None for none.
        x: (B, C, H, W).
        residual: what is added, (B, C, H, W); None for nothing.
    """
    kernel = None if torch.compiler.is_compiling() else _kernel_for(norm, x, residual)
    if kernel is None:
        out: Tensor = norm(x)
        if residual is not None:
            out += residual
    else:
        out = _FusedBatchNorm.apply(x, residual, norm.weight, norm.bias, norm, isinstance(act, nn.ReLU), kernel)
        if isinstance(act, nn.ReLU):
            return out
    return out if act is None else act(out)


def _kernel_for(norm: nn.Module, x: Tensor, residual: Tensor | None) -> ctypes.CDLL | None:
    return _kernel(x.dtype) if _fits(norm, x, residual) else None


def _fits(norm: nn.Module, x: Tensor, residual: Tensor | None) -> bool:
    return (
        isinstance(norm, nn.BatchNorm2d)
        and norm.training
        and x.device.type == "cpu"
        and x.dtype in DTYPE_FLAGS
        and x.shape[1] >= LANES
        and x.numel() % LANES == 0
        and x.numel() > x.shape[1]  # one value a channel has no variance
        and x.is_contiguous(memory_format=torch.channels_last)
        and (residual is None or _alike(residual, x))
        and norm.momentum is not None
        and norm.track_running_stats
        and norm.weight is not None
        and norm.weight.dtype == torch.float32
    )


def _alike(residual: Tensor, x: Tensor) -> bool:
    same = (residual.dtype, residual.device, residual.shape) == (x.dtype, x.device, x.shape)
    return same and residual.is_contiguous(memory_format=torch.channels_last)


class _FusedBatchNorm(torch.autograd.Function):
    """Arguments: x, residual, weight, bias, norm, relu, kernel."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        x, residual, weight, bias, norm, relu, kernel = args
        norm.num_batches_tracked.add_(1)
        y, mean, inverse_deviation = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
        rows, channels = x.numel() // x.shape[1], x.shape[1]
        scratch = torch.empty(kernel.scratch_size(rows, channels))
        kernel.forward(
            *_addresses(x, residual, y),
            rows,
            channels,
            relu,
            *_addresses(weight, bias, norm.running_mean, norm.running_var),
            norm.momentum,
            norm.eps,
            *_addresses(mean, inverse_deviation, scratch),
        )
        ctx.save_for_backward(x, y if relu else None, weight, mean, inverse_deviation)
        ctx.kernel, ctx.added = kernel, residual is not None
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, y, weight, mean, inverse_deviation = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        rows, channels = x.numel() // x.shape[1], x.shape[1]
        to_x, to_weight, to_bias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
        masked = torch.empty_like(x) if ctx.added and y is not None else None
        scratch = torch.empty(ctx.kernel.scratch_size(rows, channels))
        ctx.kernel.backward(
            *_addresses(gradient, y, x, to_x, masked),
            rows,
            channels,
            *_addresses(weight, mean, inverse_deviation, to_weight, to_bias, scratch),
        )
        to_residual = (masked if masked is not None else gradient) if ctx.added else None
        return to_x, to_residual, to_weight, to_bias, None, None, None


def _addresses(*tensors: Tensor | None) -> list[int | None]:
    return [None if tensor is None else tensor.data_ptr() for tensor in tensors]


@cache
def _kernel(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The compiled kernel for activations of a type; None where it cannot be had."""
    if not sys.platform.startswith("linux") or _openmp_libraries() != {"libgomp"}:
        return None
    try:
        kernel = ctypes.CDLL(str(_compiled(DTYPE_FLAGS[dtype])))
    except (OSError, subprocess.SubprocessError):
        return None
    if _openmp_libraries() != {"libgomp"}:  # Clang brings its own
        return None
    pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_float
    kernel.scratch_size.restype = size
    kernel.scratch_size.argtypes = [size, size]
    kernel.forward.argtypes = [*[pointer] * 3, size, size, ctypes.c_int, *[pointer] * 4, number, number, *[pointer] * 3]
    kernel.backward.argtypes = [*[pointer] * 5, size, size, *[pointer] * 6]
    kernel.forward.restype = kernel.backward.restype = None
    return kernel


def _openmp_libraries() -> set[str]:
    """Those that this process has loaded; each has threads of its own, which would wait for one another's cores."""
    loaded = Path("/proc/self/maps").read_text()
    return {name for name in ("libgomp", "libomp", "libiomp5") if f"/{name}" in loaded}


def _compiled(dtype_flags: tuple[str, ...]) -> Path:
    """The shared library for this processor, from the cache folder.

    Raises:
        OSError, subprocess.SubprocessError: no compiler, it fails, or the cache cannot be written.
    """
    command = [*shlex.split(os.environ.get("CC", "cc")), *FLAGS, *dtype_flags]
    identity = [SOURCE.read_text(), *command, platform.machine(), _processor()]
    name = f"batch_norm-{hashlib.sha256(chr(0).join(identity).encode()).hexdigest()[:24]}.so"
    path = cache_folder() / "kernels" / name
    if not path.exists():
        with atomic_path(path) as compiled:  # whole or not at all, whoever else compiles
            line = [*command, str(SOURCE), "-o", str(compiled), "-lm"]
            subprocess.run(line, check=True, capture_output=True, timeout=COMPILE_SECONDS)
    return path


def _processor() -> str:
    """What -march=native depends on: a home folder may be shared by several kinds of machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    kept = ("vendor_id", "cpu family", "model", "stepping", "flags", "CPU implementer", "CPU part", "Features")
    return "\n".join(sorted({line for line in lines if line.split("\t")[0].strip() in kept}))
