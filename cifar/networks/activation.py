"""Activations in training on a CPU, by table.

There are 65,536 numbers of type bfloat16, so an activation and its slope are two tables, filled once, in float64. A
look-up takes a third of the time of GELU's error function and exponential. Values are rounded from the exact ones;
PyTorch's, from float32, differ by 1e-7 at most where GELU fades out. Where there is no compiler, or the operands do not
fit, PyTorch's own operation is used.
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

SOURCE = Path(__file__).with_name("activation.c")
TABLED = (nn.GELU, nn.SiLU)
"""Activations that cost more than a look-up, and are not done in place."""


def activate(act: nn.Module, x: Tensor) -> Tensor:
    """`act(x)`; in eval mode, and where an operand does not fit, by PyTorch's own operation.

    Args:
        act: the activation.
        x: (B, C, H, W).
    """
    kernel = _kernel() if not torch.compiler.is_compiling() and _fits(act, x) else None
    activated: Tensor = act(x) if kernel is None else _Activation.apply(x, *_tables(type(act).__name__), kernel)
    return activated


def _fits(act: nn.Module, x: Tensor) -> bool:
    """Whether the tables are those of the activation, and the kernel would find what it takes for granted."""
    return (
        type(act) in TABLED  # a subclass may do something else
        and getattr(act, "approximate", "none") == "none"
        and not getattr(act, "inplace", False)
        and act.training
        and x.dtype == torch.bfloat16
        and is_map(x)
    )


class _Activation(torch.autograd.Function):
    """Arguments: x, values, slopes, kernel."""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        x, values, slopes, kernel = args
        y = torch.empty_like(x)
        kernel.forward(*addresses(x, y), x.numel(), *addresses(values))
        ctx.save_for_backward(x, slopes)
        ctx.kernel = kernel
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, slopes = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        to_x = torch.empty_like(x)
        ctx.kernel.backward(*addresses(gradient, x, to_x), x.numel(), *addresses(slopes))
        return to_x, None, None, None


@cache
def _tables(name: str) -> tuple[Tensor, Tensor]:
    """Values, bfloat16, and slopes, float32, of an activation of `torch.nn` by its argument's bits: (65536,) each."""
    arguments = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    with torch.enable_grad():
        x = arguments.double().requires_grad_()
        y = getattr(nn, name)()(x)
        (slopes,) = torch.autograd.grad(y.sum(), x)
    return y.detach().to(torch.bfloat16), slopes.float()


@cache
def _kernel() -> ctypes.CDLL | None:
    """The compiled kernel; None where it cannot be had."""
    kernel = load_kernel(SOURCE, DTYPE_FLAGS[torch.bfloat16])
    if kernel is None:
        return None
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    kernel.forward.argtypes = [pointer, pointer, size, pointer]
    kernel.backward.argtypes = [pointer, pointer, pointer, size, pointer]
    kernel.forward.restype = kernel.backward.restype = None
    return kernel
