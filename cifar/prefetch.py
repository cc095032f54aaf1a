"""The next item is made on the GPU while the one before is used."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cifar.runtime.device import side_stream

Tensors = tuple[Tensor, ...]


def one_ahead(items: Iterator[Tensors], device: torch.device) -> Iterator[Tensors]:
    """The same items; on CUDA each is made on the side stream, before the one before it is used.

    Their kernels are launched early and run beside those of the training steps. Elsewhere nothing changes.

    Args:
        items: tensors on `device`, made when asked for. What they are made of must be there before the first.
        device: where they are used, on the stream that is then the current one.
    """
    return _one_ahead(items, device) if device.type == "cuda" else items


def _one_ahead(items: Iterator[Tensors], device: torch.device) -> Iterator[Tensors]:
    side = side_stream(device)
    side.wait_stream(torch.cuda.current_stream(device))  # for what the items are made of

    def begun() -> tuple[Tensors | None, torch.cuda.Event]:
        with torch.cuda.stream(side):
            return next(items, None), side.record_event()

    try:
        item, made = begun()
        while item is not None:
            following = begun()
            current = torch.cuda.current_stream(device)
            current.wait_event(made)
            for tensor in item:
                tensor.record_stream(current)  # its memory is not the side stream's again before it was used
            yield item
            item, made = following
    finally:  # what the items are made of may be freed now, and overwritten by whatever the current stream does next
        torch.cuda.current_stream(device).wait_stream(side)
