"""The table of a network: shapes and receptive fields against what a network does."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cifar.networks.complexity import Layer
from cifar.networks.fast_resnet import FastResNetConfig
from cifar.networks.parts import GlobalMax
from cifar.networks.receptive_field import LayerRow, layer_rows, write_layers
from cifar.networks.reference import CnnConfig, DepthwiseConfig, ResNet9Config
from cifar.networks.resnet import ResNetConfig

NETWORKS: dict[str, ResNetConfig | CnnConfig | ResNet9Config | DepthwiseConfig | FastResNetConfig] = {
    "basic": ResNetConfig(blocks=(1, 2, 1), channels=(2, 3, 4), stem=2, image_size=64),
    "wide kernels": ResNetConfig(
        blocks=(1, 1, 1), channels=(2, 2, 2), stem=2, kernel=5, shortcut_kernel=3, image_size=80
    ),
    "preact": ResNetConfig(blocks=(1, 1, 1), channels=(2, 3, 4), stem=2, block="preact", image_size=64),
    "bottleneck": ResNetConfig(blocks=(1, 1, 1, 1), channels=(2, 2, 2, 2), stem=2, block="bottleneck", image_size=64),
    "local pool": ResNetConfig(blocks=(1, 1, 1), channels=(2, 2, 2), stem=2, pool=4, image_size=64),
    "cnn": CnnConfig(stages=((2, 2), (2,)), hidden=(3,), image_size=32),
    "resnet9": ResNet9Config(widths=(2, 2, 2, 2), image_size=128),
    "depthwise and dilated": DepthwiseConfig(image_size=96),
    "whitened": FastResNetConfig(widths=(2, 2, 2), whitening_width=4, image_size=96),
    "whitened, deeper": FastResNetConfig(widths=(2, 2, 2), convolutions=3, whitening_kernel=3, image_size=128),
}


def linear_positive(network: nn.Module) -> nn.Module:
    """The network with positive weights, averages for maxima and neutral batch norm: no path can cancel another."""
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.MaxPool2d):
            replace_module(network, name, nn.AvgPool2d(module.kernel_size, module.stride))
        if isinstance(module, GlobalMax):
            replace_module(network, name, nn.AdaptiveAvgPool2d(1))
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    return network.double().eval()


def replace_module(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    network.get_submodule(parent).register_module(child, module)


def outputs(network: nn.Module, rows: list[LayerRow], image: Tensor) -> dict[str, Tensor]:
    """What the module of each row puts out."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda _module, _inputs, output: seen.__setitem__(name, output)

    handles = [network.get_submodule(row.name).register_forward_hook(keep(row.name)) for row in rows]
    network(image)
    for handle in handles:
        handle.remove()
    return seen


def numerical_field(output: Tensor, image: Tensor) -> int:
    """Side of the square of input pixels that the centre of an output depends on."""
    centre = output[0, 0, output.shape[2] // 2, output.shape[3] // 2] if output.ndim == 4 else output[0, 0]
    (gradient,) = torch.autograd.grad(centre, image, retain_graph=True)
    rows, columns = gradient.abs().sum(dim=(0, 1)).nonzero().unbind(1)
    height, width = (int(where.max() - where.min()) + 1 for where in (rows, columns))
    assert height == width
    return height


@pytest.mark.parametrize("name", NETWORKS)
def test_the_table_is_what_the_network_does(name: str) -> None:
    config = NETWORKS[name]
    size = config.image_size
    rows = layer_rows(config.layers(), size)
    network = linear_positive(config.build())
    image = torch.ones(1, 3, size, size, dtype=torch.float64, requires_grad=True)
    seen = outputs(network, rows, image)
    compared = 0
    for row in rows:
        output = seen[row.name]
        shape = (row.channels,) if row.size is None else (row.channels, row.size, row.size)
        assert tuple(output.shape[1:]) == shape, row.name
        if row.receptive_field is None:
            continue
        field = numerical_field(output, image)
        if row.receptive_field < size / 2:  # the border is too far away to cut the square off
            assert field == row.receptive_field, row.name
            compared += 1
        else:
            assert field <= row.receptive_field, row.name
    assert compared >= 5
    last = rows[-1]
    assert numerical_field(seen[last.name], image) == size
    assert last.receptive_field is not None
    assert last.receptive_field >= size
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in network.parameters())


def test_a_case_by_hand() -> None:
    """The first layers of a torchvision ResNet: 7x7 stride 2, max pooling 3x3 stride 2, 3x3: 7, 11, 19."""
    layers = [
        Layer("conv1", "conv", 3, 64, 112, kernel=7, stride=2),
        Layer("bn1", "norm", 64, 64, 112),
        Layer("maxpool", "pool", 64, 64, 56, kernel=3, stride=2),
        Layer("conv", "conv", 64, 64, 56, kernel=3),
        Layer("shortcut", "conv", 64, 64, 56, branch=True),
        Layer("dilated", "conv", 64, 64, 56, kernel=3, dilation=2, groups=64),
        Layer("fc", "linear", 64 * 56 * 56, 10, bias=True),
    ]
    rows = layer_rows(layers, 224)
    assert [row.receptive_field for row in rows] == [7, 7, 11, 19, None, 35, 35 + 55 * 4]
    assert [row.kind for row in rows] == [
        "conv 7x7, stride 2",
        "batch norm",
        "pool 3x3",
        "conv 3x3",
        "conv 1x1",
        "conv 3x3, depthwise, dilation 2",
        "linear",
    ]
    assert (rows[0].output_shape, rows[-1].output_shape) == ("64x112x112", "10")


def test_the_file_reads_back(tmp_path: Path) -> None:
    config = ResNetConfig()
    rows = layer_rows(config.layers(), config.image_size)
    write_layers(tmp_path / "layers.csv", rows)
    with (tmp_path / "layers.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["layer"] for row in read] == [row.name for row in rows]
    assert sum(int(row["parameters"]) for row in read) == config.cost().parameters
    assert sum(int(row["macs"]) for row in read) == config.cost().macs
    assert {row["receptive_field"] for row in read if "shortcut" in row["layer"]} == {""}
