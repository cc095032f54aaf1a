"""Class probabilities of images by a trained network, with or without test-time augmentation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cifar.normalization import Normalization, normalize

CPU_BATCH = 128
"""Images of a forward pass on a CPU: 500 overflow the caches, 6 to 12 % slower with 5 M parameters on one core."""
GPU_BATCH = 500
"""Images of a forward pass elsewhere."""


def predict_probabilities(
    network: nn.Module,
    images: Tensor,
    normalization: Normalization,
    *,
    device: torch.device,
    autocast: torch.dtype | None = None,
    batch_size: int | None = None,
    tta: bool = False,
) -> Tensor:
    """Class probabilities of images.

    The network is in eval mode inside, and every module gets its own mode back: frozen layers stay frozen.
    Nothing in the loop waits for the device; results stay there and move to the CPU once.

    Args:
        network: on `device`; maps normalised float (B, 3, H, W) to logits (B, C).
        images: uint8 (N, 3, H, W), on any device; N = 0 gives (0, C).
        normalization: the one that the network was trained with.
        device: where the network is.
        autocast: lower precision for the network up to its last linear layer, such as `torch.bfloat16`; None keeps
            float32. A network whose logits come from another layer keeps float32 too, at the cost of a second pass.
        batch_size: images a forward pass; None suits the device. The result does not depend on it, beyond rounding.
        tta: test-time augmentation by the six views of `_six_view_logits`; six times the work.

    Returns:
        float32 (N, C) on the CPU; rows sum to 1. Logits are float32 whatever the precision of the network's body:
        in bfloat16, of 8 binary digits, two classes of 18 in 10,000 test images were exactly equal.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
        raise ValueError(f"images must be uint8 (N, 3, H, W); got {images.dtype} {tuple(images.shape)}")
    if batch_size is None:
        batch_size = CPU_BATCH if device.type == "cpu" else GPU_BATCH
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more; got {batch_size}")
    view_logits = _six_view_logits if tta else _plain_logits
    with (
        _eval_mode(network),
        _float32_head(network),
        torch.inference_mode(),
        torch.autocast(device.type, dtype=autocast, enabled=autocast is not None),
    ):
        images = images.to(device, memory_format=torch.channels_last)
        collected = []
        for start in range(0, max(len(images), 1), batch_size):
            inputs = normalize(images[start : start + batch_size], normalization)  # (B, 3, H, W)
            collected.append(view_logits(network, inputs).softmax(dim=1))  # (B, C)
        probabilities = torch.cat(collected)
    return probabilities.to("cpu", copy=True)  # outside inference mode: an ordinary tensor


@contextmanager
def _eval_mode(network: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _float32_head(network: nn.Module) -> Iterator[None]:
    """Inside, the last linear layer takes and gives float32; autocast would round its output."""
    head = _last_linear(network)
    if head is None:
        yield
        return
    forward = head.forward

    def in_float32(features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = forward(features.float())
        return logits

    head.forward = in_float32
    try:
        yield
    finally:
        del head.forward


def _last_linear(network: nn.Module) -> nn.Module | None:
    return next((module for module in reversed(list(network.modules())) if isinstance(module, nn.Linear)), None)


def _plain_logits(network: nn.Module, inputs: Tensor) -> Tensor:
    logits: Tensor = network(inputs)
    if logits.dtype in (torch.bfloat16, torch.float16):
        with torch.autocast(inputs.device.type, enabled=False):
            logits = network(inputs)
    return logits.float()


def _mirror_logits(network: nn.Module, inputs: Tensor) -> Tensor:
    return (_plain_logits(network, inputs) + _plain_logits(network, inputs.flip(-1))) / 2


def _six_view_logits(network: nn.Module, inputs: Tensor) -> Tensor:
    """Mean logits of six views, weighted as by `tta_level=2` of KellerJordan/cifar10-airbench.

    The image and its mirror image count 1/4 each. Both, moved one pixel up-left and one pixel down-right
    with the edge filled by reflection, count 1/8 each. Logits are averaged, not probabilities, as there.
    """
    height, width = inputs.shape[-2:]
    padded = F.pad(inputs, (1, 1, 1, 1), mode="reflect")
    corners = (padded[..., :height, :width], padded[..., 2:, 2:])
    moved = [_mirror_logits(network, view.contiguous(memory_format=torch.channels_last)) for view in corners]
    return _mirror_logits(network, inputs) / 2 + (moved[0] + moved[1]) / 4
