"""What kernels, which see addresses only, may be given: whole activations in the CPU's memory."""

from __future__ import annotations

import torch
from torch import Tensor, nn

DTYPE_FLAGS = {torch.bfloat16: ("-DBFLOAT16",), torch.float32: ()}
"""Types of activations, with what compiles a kernel for each."""


def is_map(x: Tensor) -> bool:
    """Whether it holds activations, (B, C, H, W), a pixel after the other."""
    if not in_memory(x) or x.ndim != 4:
        return False
    return x.dtype in DTYPE_FLAGS and x.is_contiguous(memory_format=torch.channels_last)


def in_memory(tensor: Tensor) -> bool:
    """Whether its address is one of the CPU's; subclasses may stand for tensors that lie nowhere."""
    return type(tensor) in (Tensor, nn.Parameter) and tensor.device.type == "cpu" and tensor.layout == torch.strided


def addresses(*tensors: Tensor | None) -> list[int | None]:
    """Where the tensors lie, for a kernel's arguments."""
    return [None if tensor is None else tensor.data_ptr() for tensor in tensors]
