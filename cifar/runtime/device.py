"""Where a network trains, and in which precision."""

from __future__ import annotations

import platform
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache

import torch

from cifar.errors import ConfigError
from cifar.runtime.allocator import keep_freed_memory

DEVICE_CHOICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Device:
    """A torch device with the precision that its hardware multiplies fast."""

    torch_device: torch.device
    """The device."""
    autocast: torch.dtype | None
    """bfloat16, float16, or None for float32 throughout."""

    @property
    def needs_loss_scaling(self) -> bool:
        """float16 gradients underflow unless the loss is scaled (arXiv 1710.03740)."""
        return self.autocast is torch.float16

    def prepare_to_train(self) -> None:
        """Settings of the process that training on this device gains from."""
        if self.torch_device.type == "cpu":
            keep_freed_memory()
        if self.torch_device.type == "cuda":
            if self.torch_device.index is not None:  # what names no device would open a context on the first GPU too
                torch.cuda.set_device(self.torch_device)
            # cuDNN times its kernels for each new shape and keeps the fastest: batches have few shapes, used often.
            # Which one is the fastest differs from run to run.
            torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()

    def autocasting(self) -> torch.autocast:
        """A block inside which networks run in this precision."""
        return torch.autocast(self.torch_device.type, dtype=self.autocast, enabled=self.autocast is not None)

    def forked_generators(self) -> AbstractContextManager[None]:
        """A block that leaves torch's global generators, the CPU's and the device's, as they were."""
        return torch.random.fork_rng([self.torch_device] if self.torch_device.type == "cuda" else [])

    def describe(self) -> str:
        """Such as `CPU with 2 threads, bfloat16`."""
        precision = str(self.autocast or torch.float32).removeprefix("torch.")
        if self.torch_device.type == "cuda":
            return f"{torch.cuda.get_device_name(self.torch_device)}, {precision}"
        if self.torch_device.type == "mps":
            return f"{platform.processor()} GPU (MPS), {precision}"
        threads = torch.get_num_threads()
        return f"CPU with {threads} thread{'s' * (threads > 1)}, {precision}"


def choose_device(name: str = "auto") -> Device:
    """The device of that name; `auto` takes CUDA, then MPS, then the CPU.

    Args:
        name: auto, cpu, cuda, cuda:<index> or mps.

    Raises:
        ConfigError: unknown name, or a device that this machine lacks.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if available[kind])
    kind, _, index = name.partition(":")
    if kind not in available or (index and not index.isdecimal()):
        raise ConfigError("a device is auto, cpu, cuda, cuda:<index> or mps", got=repr(name), remedy="Use auto")
    if not available[kind] or (index and kind == "cuda" and int(index) >= torch.cuda.device_count()):
        raise ConfigError("the device must exist on this machine", got=repr(name), remedy="Use --device auto")
    device = torch.device(name)
    return Device(device, fast_precision(device))


@cache  # memory that a stream has freed is kept for that stream: one for all uses keeps it once
def side_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream of a CUDA device for work beside the current one's."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def fast_precision(device: torch.device) -> torch.dtype | None:
    """bfloat16 or float16 where the hardware multiplies it faster than float32; otherwise None."""
    if device.type == "cuda":
        # including_emulation=False: on Turing and older, bfloat16 runs but slower than float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16
    return None
