"""Batch norm in training, with the addition and the ReLU that follow it, in one pass on a CPU.

PyTorch reads bfloat16 activations three times to normalise them, and again for each operation that follows;
`batch_norm.c` reads them twice: 1.9 to 5 times as fast (`benchmarks.throughput --only kernels`, benchmarks/README.md).
It is compiled by the system's C compiler once a machine, in half a second. Where there is none, or the operands do not
fit (other systems, devices, types and memory formats), PyTorch's own operations do the same, or raise as ever.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from cifar.networks.activation import activate
from cifar.networks.kernels import load_kernel
from cifar.networks.operands import DTYPE_FLAGS, addresses, in_memory, is_map

SOURCE = Path(__file__).with_name("batch_norm.c")


def norm_act(norm: nn.Module, act: nn.Module | None, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """`act(norm(x) + residual)`; in eval mode, and where an operand does not fit, by PyTorch's own operations.

    Args:
        norm: an `nn.BatchNorm2d`, whose running statistics move in training as they do in `norm(x)`; or another norm.
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
        relu = type(act) is nn.ReLU
        out = _FusedBatchNorm.apply(x, residual, norm.weight, norm.bias, norm, relu, kernel)
        if relu:
            return out
    return out if act is None else activate(act, out)


def _kernel_for(norm: nn.Module, x: Tensor, residual: Tensor | None) -> ctypes.CDLL | None:
    return _kernel(x.dtype) if _fits(norm, x, residual) else None


def _fits(norm: nn.Module, x: Tensor, residual: Tensor | None) -> bool:
    """Whether the kernel, which sees addresses only, would find there what it takes for granted."""
    return (
        type(norm) is nn.BatchNorm2d  # a subclass may do something else
        and norm.training
        and norm.track_running_stats
        and norm.num_batches_tracked is not None
        and isinstance(norm.momentum, float | int)
        and isinstance(norm.eps, float | int)
        and is_map(x)
        and x.numel() > x.shape[1]  # one value a channel has no variance
        and (residual is None or (is_map(residual) and (residual.dtype, residual.shape) == (x.dtype, x.shape)))
        and all(_is_vector(v, x.shape[1]) for v in (norm.weight, norm.bias, norm.running_mean, norm.running_var))
    )


def _is_vector(values: Tensor | None, channels: int) -> bool:
    """Whether it holds a number a channel, one after the other."""
    if values is None or not in_memory(values):
        return False
    return values.dtype == torch.float32 and values.shape == (channels,) and values.is_contiguous()


class _FusedBatchNorm(torch.autograd.Function):
    """Arguments: x, residual, weight, bias, norm, relu, kernel."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        x, residual, weight, bias, norm, relu, kernel = args
        norm.num_batches_tracked.add_(1)
        y, mean, inverse_deviation = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
        rows, channels = x.numel() // x.shape[1], x.shape[1]
        scratch = weight.new_empty(kernel.scratch_size(rows, channels))
        kernel.forward(
            *addresses(x, residual, y),
            rows,
            channels,
            relu,
            *addresses(weight, bias, norm.running_mean, norm.running_var),
            norm.momentum,
            norm.eps,
            *addresses(mean, inverse_deviation, scratch),
        )
        ctx.save_for_backward(x, y if relu else None, weight, mean, inverse_deviation)
        ctx.kernel, ctx.added = kernel, residual is not None
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, y, weight, mean, inverse_deviation = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        rows, channels = x.numel() // x.shape[1], x.shape[1]
        to_x, to_weight, to_bias = torch.empty_like(x), torch.empty_like(weight), torch.empty_like(weight)
        masked = torch.empty_like(x) if ctx.added and y is not None else None
        scratch = weight.new_empty(ctx.kernel.scratch_size(rows, channels))
        ctx.kernel.backward(
            *addresses(gradient, y, x, to_x, masked),
            rows,
            channels,
            *addresses(weight, mean, inverse_deviation, to_weight, to_bias, scratch),
        )
        to_residual = (masked if masked is not None else gradient) if ctx.added else None
        every = (to_x, to_residual, to_weight, to_bias, None, None, None)
        return tuple(to if needed else None for to, needed in zip(every, ctx.needs_input_grad, strict=True))


@cache
def _kernel(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The compiled kernel for activations of a type; None where it cannot be had."""
    kernel = load_kernel(SOURCE, DTYPE_FLAGS[dtype])
    if kernel is None:
        return None
    pointer, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_float
    kernel.scratch_size.restype = size
    kernel.scratch_size.argtypes = [size, size]
    kernel.forward.argtypes = [*[pointer] * 3, size, size, ctypes.c_int, *[pointer] * 4, number, number, *[pointer] * 3]
    kernel.backward.argtypes = [*[pointer] * 5, size, size, *[pointer] * 6]
    kernel.forward.restype = kernel.backward.restype = None
    return kernel
