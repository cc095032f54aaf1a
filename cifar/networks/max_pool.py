"""Max pooling of 2 x 2 pixels in training on a CPU.

PyTorch keeps eight bytes for each maximum, to say which pixel it comes from, and fills the gradient with zeros before
it sets some of them; `max_pool.c` keeps one byte, and writes each value once. Values and gradients are PyTorch's to the
bit. Where there is no compiler, or the operands do not fit, PyTorch's own operation does the same.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from cifar.networks.kernels import load_kernel
from cifar.networks.operands import DTYPE_FLAGS, addresses, is_map

SOURCE = Path(__file__).with_name("max_pool.c")
SIDE = 2
"""Of a window, in pixels."""


def max_pool(pool: nn.MaxPool2d, x: Tensor) -> Tensor:
    """`pool(x)`; in eval mode, and where an operand does not fit, by PyTorch's own operation.

    Args:
        pool: the pooling.
        x: (B, C, H, W).
    """
    kernel = None if torch.compiler.is_compiling() else _kernel_for(pool, x)
    pooled: Tensor = pool(x) if kernel is None else _MaxPool.apply(x, kernel)
    return pooled


def _kernel_for(pool: nn.MaxPool2d, x: Tensor) -> ctypes.CDLL | None:
    return _kernel(x.dtype) if _fits(pool, x) else None


def _fits(pool: nn.MaxPool2d, x: Tensor) -> bool:
    """Whether the kernel, which sees addresses only, would find there what it takes for granted."""
    return (
        type(pool) is nn.MaxPool2d  # a subclass may do something else
        and pool.training
        and _sides(pool.kernel_size) == _sides(pool.stride) == (SIDE, SIDE)
        and (_sides(pool.padding), _sides(pool.dilation)) == ((0, 0), (1, 1))
        and not (pool.ceil_mode or pool.return_indices)
        and is_map(x)
        and x.numel() > 0
        and min(x.shape[2:]) >= SIDE
    )


def _sides(given: Any) -> Any:
    """Height and width of what is given as both, or as one for both."""
    return given if isinstance(given, tuple) else (given, given)


class _MaxPool(torch.autograd.Function):
    """Arguments: x, kernel."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        x, kernel = args
        images, channels, height, width = x.shape
        shape = (images, channels, height // SIDE, width // SIDE)
        y = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
        winners = torch.empty_like(y, dtype=torch.uint8)
        kernel.forward(*addresses(x, y, winners), images, height, width, channels)
        ctx.save_for_backward(winners)
        ctx.kernel, ctx.shape = kernel, x.shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (winners,) = ctx.saved_tensors
        images, channels, height, width = ctx.shape
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        to_x = torch.empty(ctx.shape, dtype=gradient.dtype, memory_format=torch.channels_last)
        ctx.kernel.backward(*addresses(gradient, winners, to_x), images, height, width, channels)
        return to_x, None


@cache
def _kernel(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The compiled kernel for activations of a type; None where it cannot be had."""
    kernel = load_kernel(SOURCE, DTYPE_FLAGS[dtype])
    if kernel is None:
        return None
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    kernel.forward.argtypes = kernel.backward.argtypes = [*[pointer] * 3, *[size] * 4]
    kernel.forward.restype = kernel.backward.restype = None
    return kernel
