"""What each layer of a network makes, costs and sees: output shape, parameters, MACs, receptive field.

The receptive field of a layer is the side, in input pixels, of the square that one of its output pixels depends
on. Along the main path it grows by (kernel - 1) x dilation x jump a layer, and the jump, the distance of two
neighbouring output pixels in input pixels, is multiplied by each stride (Araujo, Norris and Sim, "Computing
receptive fields of convolutional neural networks", Distill 2019, doi 10.23915/distill.00021). A linear layer
counts as a convolution whose kernel covers the map. Part of a field may be padding: one that is wider than the
image sees all of it. Squeeze-and-excitation, which weighs channels by means over the whole map, is left out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cifar.networks.complexity import Layer


@dataclass(frozen=True)
class LayerRow:
    """One row of a network's table."""

    name: str
    """Dotted name of the module."""
    kind: str
    """What it is, such as `conv 3x3, stride 2`."""
    channels: int
    """Output channels or features."""
    size: int | None
    """Height and width of the output in pixels; None for a vector."""
    parameters: int
    """Weights and biases."""
    macs: int
    """Multiply-accumulates an image."""
    receptive_field: int | None
    """Side in input pixels; None beside the main path."""

    @property
    def output_shape(self) -> str:
        """Such as `64x32x32`, channels first; a vector's length alone."""
        return f"{self.channels}" if self.size is None else f"{self.channels}x{self.size}x{self.size}"


def layer_rows(layers: Iterable[Layer], image_size: int) -> list[LayerRow]:
    """The table of a network.

    Args:
        layers: in the order of the forward pass.
        image_size: height and width of the input in pixels.
    """
    field, jump, size = 1, 1, image_size  # of what the main path has come to
    rows = []
    for layer in layers:
        if not layer.branch:
            kernel = size if layer.kind == "linear" else layer.kernel
            field += (kernel - 1) * layer.dilation * jump
            jump *= layer.stride
            size = layer.out_size
        rows.append(_row(layer, None if layer.branch else field))
    return rows


def _row(layer: Layer, receptive_field: int | None) -> LayerRow:
    size = None if layer.kind == "linear" else layer.out_size
    return LayerRow(
        layer.name, _described(layer), layer.out_channels, size, layer.parameters, layer.macs, receptive_field
    )


def _described(layer: Layer) -> str:
    side = f"{layer.kernel}x{layer.kernel}"
    if layer.kind == "norm":
        return "batch norm"
    if layer.kind != "conv":
        return f"pool {side}" if layer.kind == "pool" else "linear"
    parts = [f"conv {side}"]
    if layer.groups > 1:
        parts.append("depthwise" if layer.groups == layer.in_channels else f"{layer.groups} groups")
    if layer.stride > 1:
        parts.append(f"stride {layer.stride}")
    if layer.dilation > 1:
        parts.append(f"dilation {layer.dilation}")
    return ", ".join(parts)


def write_layers(path: Path, rows: Sequence[LayerRow]) -> None:
    """Writes the table as CSV, whole or not at all; `receptive_field` is empty beside the main path."""
    from cifar.files import write_text

    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("layer", "kind", "output_shape", "parameters", "macs", "receptive_field"))
    for row in rows:
        table.writerow((row.name, row.kind, row.output_shape, row.parameters, row.macs, row.receptive_field))
    write_text(path, text.getvalue())
