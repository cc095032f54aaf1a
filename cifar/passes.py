"""Forward and backward pass of a training step: operation by operation, compiled, or recorded as a CUDA graph.

All three do the same arithmetic. They differ in who launches the kernels: Python each of some hundred a step, code
that torch.compile made of them, or the GPU by itself, from a recording.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cifar.runtime.device import Device, side_stream

WARM_UPS = 3
"""Passes before the recording, on its own stream: cuDNN chooses its kernels in them, which no recording allows."""

Batch = tuple[Tensor, Tensor, Tensor]
"""Images, float (B, 3, H, W) in channels_last; targets, int64 (B,) or probabilities (B, C); labels, int64 (B,)."""
Losses = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From a batch to its mean loss, with gradients, and its totals: (2,), summed loss and right images."""
Pass = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From a batch to its totals, which are good until the next pass; leaves the parameters their gradients."""


def losses_of(network: nn.Module, device: Device, label_smoothing: float) -> Losses:
    """The forward pass with loss and metrics, in one function so that one compilation covers them."""

    def losses(images: Tensor, targets: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with device.autocasting():
            logits = network(images).float()  # (B, C)
        loss = F.cross_entropy(logits, targets, label_smoothing=label_smoothing)
        right = (logits.detach().argmax(1) == labels).sum()
        return loss, torch.stack((loss.detach() * len(labels), right))

    return losses


def plain_pass(losses: Losses, scaler: torch.amp.GradScaler) -> Pass:
    """The pass as PyTorch runs it."""

    def run(images: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
        loss, totals = losses(images, targets, labels)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return totals

    return run


class RecordedPass:
    """A pass that is recorded once and replayed for every batch: one launch instead of hundreds.

    This is the whole-network capture of PyTorch's notes on CUDA graphs
    (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs) without the optimizer, whose learning rate
    changes. A recording works on the memory that it began with: batches are copied there, and gradients lie there.

    Args:
        losses: of the network, for batches of one shape.
        scaler: of the loss.
        network: in training; its parameters must stay the same objects.
        batch: of the shape and types of every batch.
        record: does a piece of work, and gives what does it again, on the same memory.
    """

    def __init__(
        self,
        losses: Losses,
        scaler: torch.amp.GradScaler,
        network: nn.Module,
        batch: Batch,
        record: Callable[[Callable[[], None]], Callable[[], None]],
    ) -> None:
        self.losses, self.scaler = losses, scaler
        self.batch = [part.clone() for part in batch]
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.replay = record(self._work)

    def _work(self) -> None:
        loss, self.totals = self.losses(*self.batch)
        self.gradients = torch.autograd.grad(self.scaler.scale(loss), self.parameters, allow_unused=True)

    def __call__(self, images: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
        """See `Pass`."""
        for held, given in zip(self.batch, (images, targets, labels), strict=True):
            held.copy_(given)
        self.replay()
        for p, gradient in zip(self.parameters, self.gradients, strict=True):
            p.grad = gradient
        return self.totals


def cuda_graph_on(device: torch.device) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """What records work on a CUDA device, for `RecordedPass`."""

    def record(work: Callable[[], None]) -> Callable[[], None]:
        stream, current = side_stream(device), torch.cuda.current_stream(device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                work()
        current.wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            work()
        return graph.replay

    return record
