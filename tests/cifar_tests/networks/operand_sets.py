"""Operands that a kernel which sees addresses only must not get unchecked.

Run as a program it prints a line for each set: whether `norm_act` gives what PyTorch gives, or raises what it raises.
A crash ends the program, so it runs in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cifar.networks.batch_norm import norm_act

Operands = tuple[nn.BatchNorm2d, Tensor, Tensor | None]


def images(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape).to(dtype, memory_format=torch.channels_last)


X = (4, 16, 8, 8)


def norm_with(*, channels: int = 16, **changes: Any) -> nn.BatchNorm2d:
    """A batch norm some of whose tensors or settings were replaced."""
    norm = nn.BatchNorm2d(channels)
    for name, value in changes.items():
        if isinstance(value, Tensor) and name in ("weight", "bias"):
            value = nn.Parameter(value)
        setattr(norm, name, value)
    return norm


def every_other(size: int = 16) -> Tensor:
    return torch.linspace(0.5, 1.5, 2 * size)[::2]


def of_norm(*, x: tuple[int, ...] = X, channels: int = 16, **changes: Any) -> Operands:
    return norm_with(channels=channels, **changes), images(*x), None


def of_residual(residual: Tensor) -> Operands:
    return nn.BatchNorm2d(16), images(*X), residual


def of_images(x: Tensor) -> Operands:
    return nn.BatchNorm2d(16), x, None


def with_float64_by_default() -> Operands:
    operands = of_norm()
    torch.set_default_dtype(torch.float64)
    return operands


def with_another_device_by_default() -> Operands:
    operands = of_norm()
    torch.set_default_device("meta")
    return operands


OPERAND_SETS: dict[str, Callable[[], Operands]] = {
    "as usual": lambda: of_norm(),
    "as usual, bfloat16": lambda: of_images(images(*X, dtype=torch.bfloat16)),
    "as usual, float64 by default": with_float64_by_default,
    "as usual, another device by default": with_another_device_by_default,
    "16 features on 64 channels": lambda: of_norm(x=(4, 64, 8, 8)),
    "64 features on 16 channels": lambda: of_norm(channels=64),
    "17 features on 16 channels": lambda: of_norm(channels=17),
    "no weight": lambda: of_norm(weight=None),
    "no bias": lambda: of_norm(bias=None),
    "neither weight nor bias": lambda: of_norm(weight=None, bias=None),
    "short weight": lambda: of_norm(weight=torch.ones(8)),
    "short bias": lambda: of_norm(bias=torch.ones(8)),
    "short running mean": lambda: of_norm(running_mean=torch.zeros(8)),
    "short running variance": lambda: of_norm(running_var=torch.ones(8)),
    "bfloat16 weight": lambda: of_norm(weight=torch.ones(16, dtype=torch.bfloat16)),
    "bfloat16 weight and bias": lambda: of_norm(
        weight=torch.ones(16, dtype=torch.bfloat16), bias=torch.ones(16, dtype=torch.bfloat16)
    ),
    "float64 bias": lambda: of_norm(bias=torch.ones(16, dtype=torch.float64)),
    "bfloat16 statistics": lambda: of_norm(
        running_mean=torch.zeros(16, dtype=torch.bfloat16), running_var=torch.ones(16, dtype=torch.bfloat16)
    ),
    "float64 statistics": lambda: of_norm(
        running_mean=torch.zeros(16, dtype=torch.float64), running_var=torch.ones(16, dtype=torch.float64)
    ),
    "weight with gaps": lambda: of_norm(weight=every_other()),
    "bias with gaps": lambda: of_norm(bias=every_other()),
    "running mean with gaps": lambda: of_norm(running_mean=every_other()),
    "running variance with gaps": lambda: of_norm(running_var=every_other()),
    "two-dimensional weight": lambda: of_norm(weight=torch.ones(4, 4)),
    "no running statistics": lambda: of_norm(running_mean=None, running_var=None),
    "no running mean": lambda: of_norm(running_mean=None),
    "statistics not tracked": lambda: of_norm(track_running_stats=False),
    "batches not counted": lambda: of_norm(num_batches_tracked=None),
    "cumulative average": lambda: of_norm(momentum=None),
    "whole momentum": lambda: of_norm(momentum=1),
    "statistics elsewhere": lambda: of_norm(running_mean=torch.zeros(16, device="meta")),
    "weight elsewhere": lambda: of_norm(weight=torch.ones(16, device="meta")),
    "float64 images": lambda: of_images(images(*X, dtype=torch.float64)),
    "float16 images": lambda: of_images(images(*X, dtype=torch.float16)),
    "images in the usual memory format": lambda: of_images(torch.randn(X)),
    "images with gaps": lambda: of_images(images(4, 32, 8, 8)[:, ::2]),
    "an image repeated": lambda: of_images(images(1, *X[1:]).expand(X)),
    "no images": lambda: of_images(images(0, *X[1:])),
    "three dimensions": lambda: of_images(torch.randn(16, 8, 8)),
    "two dimensions": lambda: of_images(torch.randn(4, 16)),
    "one value a channel": lambda: of_images(images(1, 16, 1, 1)),
    "one pixel an image": lambda: of_images(images(8, 16, 1, 1)),
    "sparse images": lambda: of_images(torch.randn(X).to_sparse()),
    "one channel": lambda: of_norm(x=(4, 1, 5, 5), channels=1),
    "fewer elements than a vector": lambda: of_norm(x=(2, 3, 1, 2), channels=3),
    "residual": lambda: of_residual(images(*X)),
    "residual in the usual memory format": lambda: of_residual(torch.randn(X)),
    "residual of fewer images": lambda: of_residual(images(2, *X[1:])),
    "residual of one image": lambda: of_residual(images(1, *X[1:])),
    "residual of fewer channels": lambda: of_residual(images(4, 8, 8, 8)),
    "residual of fewer pixels": lambda: of_residual(images(4, 16, 4, 4)),
    "bfloat16 residual": lambda: of_residual(images(*X, dtype=torch.bfloat16)),
    "float64 residual": lambda: of_residual(images(*X, dtype=torch.float64)),
    "residual with gaps": lambda: of_residual(images(4, 32, 8, 8)[:, ::2]),
}


def theirs(norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None) -> Tensor:
    out: Tensor = norm(x)
    if residual is not None:
        out += residual
    return out.relu()


def ours(norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None) -> Tensor:
    return norm_act(norm, nn.ReLU(), x, residual)


def found(function: Callable[..., Tensor], make: Callable[[], Operands]) -> Any:
    """Output, gradients and buffers; or the exception."""
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    torch.manual_seed(0)
    norm, x, residual = make()  # anew each time: a copy would have no gaps
    inputs = [t.requires_grad_() for t in (x, residual) if t is not None]
    try:
        y = function(norm, *inputs, *([None] if residual is None else []))
        y.backward(torch.cos(y.detach()))  # type: ignore[no-untyped-call]
        gradients = [t.grad for t in (*inputs, *norm.parameters())]
        return [t for t in (y.detach(), *gradients, *norm.buffers()) if t is not None and t.device.type == "cpu"]
    except Exception as error:
        return type(error), str(error)


def outcome(make: Callable[[], Operands]) -> str:
    expected, got = found(theirs, make), found(ours, make)
    if isinstance(expected, tuple) or isinstance(got, tuple):
        return "raises alike" if got == expected else f"gives {got} instead of {expected}"
    low = got[0].dtype in (torch.bfloat16, torch.float16)
    try:
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=2e-2 if low else 1e-4, atol=5e-2 if low else 1e-4)
    except (AssertionError, ValueError) as error:
        return " ".join(f"differs: {error}".split())
    return "equal"


def main() -> None:
    for name, make in OPERAND_SETS.items():
        print(f"{name}: {outcome(make)}", flush=True)


if __name__ == "__main__":
    main()
