"""Seeds derived from seeds, and the deterministic mode."""

from __future__ import annotations

import hashlib
import os

import torch


def derive_seed(*parts: int | str) -> int:
    """A seed in [0, 2**63) that depends on all `parts`, the same in every process.

    A run's epoch draws from `derive_seed(run_seed, "epoch", epoch)`: no generator state needs saving to resume.
    """
    text = "/".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def use_deterministic_algorithms() -> None:
    """Makes equal seeds give equal weights on the same machine, for the rest of the process; slower on CUDA."""
    # cuBLAS reads this at its first call: https://docs.nvidia.com/cuda/cublas/#results-reproducibility
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
