"""Random numbers for the images of a batch, drawn on the CPU from the caller's generator and no other."""

from __future__ import annotations

import torch
from torch import Tensor


def uniform(low: float, high: float, *shape: int, generator: torch.Generator) -> Tensor:
    """float64 of this shape, uniform in [low, high)."""
    return torch.empty(shape, dtype=torch.float64).uniform_(low, high, generator=generator)


def uniform_integer(below: Tensor, generator: torch.Generator) -> Tensor:
    """An integer in 0..below - 1 for each element of `below`."""
    return (uniform(0, 1, *below.shape, generator=generator) * below).long()
