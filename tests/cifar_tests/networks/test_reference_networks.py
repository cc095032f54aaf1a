"""The reference networks: golden counts; what is described is what is built; every one trains."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cifar.candidate import Candidate, RecipeFile
from cifar.config import to_dict
from cifar.errors import ConfigError
from cifar.networks.complexity import Layer, measure_cost, thop_parameters
from cifar.networks.fast_resnet import FastResNetConfig
from cifar.networks.imagenet import TransferConfig
from cifar.networks.parts import Residual
from cifar.networks.reference import CnnConfig, DepthwiseConfig, ResNet9Config
from cifar.networks.registry import NETWORKS, Layered, NetworkConfig, network_from_dict
from cifar.recipe import recipe_names

GOLDEN = {
    "resnet_16_32_64": 175_258,
    "cnn_64_128_256": 2_659_402,
    "resnet18_transfer": 11_181_642,
    "resnet9_onecycle": 6_573_120,
    "resnet50_adamw": 23_547_402,
    "resnet24_budget5m": 4_916_284,
    "resnet_3_5_3": 4_918_602,
    "resnet18_cifar": 11_173_962,
    "depthwise_dilated": 224_522,
    "baseline_cnn": 545_098,
    "cpu_fast": 498_104,
    "gpu_fast": 1_972_792,
    "gpu_long": 4_326_986,
    "resnet24_budget5m_w64": 4_623_178,
}

cnns = st.builds(
    CnnConfig,
    stages=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple), min_size=1, max_size=3).map(tuple),
    hidden=st.lists(st.integers(1, 9), max_size=2).map(tuple),
    norm=st.booleans(),
    dropout=st.sampled_from((0.0, 0.5)),
    num_classes=st.integers(2, 12),
    image_size=st.sampled_from((16, 31, 32)),
)
four_widths = st.tuples(*[st.integers(1, 12)] * 4)
resnet9s = st.builds(ResNet9Config, widths=four_widths, image_size=st.sampled_from((8, 31, 32)))
depthwises = st.builds(
    DepthwiseConfig,
    stem=st.integers(1, 9),
    widths=four_widths,
    dilation=st.integers(1, 3),
    image_size=st.sampled_from((8, 31, 32)),
)
fast_resnets = st.builds(
    FastResNetConfig,
    widths=st.tuples(*[st.integers(1, 12)] * 3),
    convolutions=st.sampled_from((2, 3)),
    residual=st.booleans(),
    whitening_kernel=st.sampled_from((2, 3)),
    whitening_width=st.integers(1, 12).map(lambda half: 2 * half),
    stem_bias=st.booleans(),
    activation=st.sampled_from(("gelu", "relu")),
    norm_momentum=st.sampled_from((0.1, 0.4)),
    frozen_norm_scale=st.booleans(),
    initialization=st.sampled_from(("dirac", "kaiming")),
    logit_scale=st.sampled_from((1 / 9, 1.0)),
    num_classes=st.integers(2, 12),
    image_size=st.sampled_from((10, 31, 32)),
)
transfers = st.builds(
    TransferConfig,
    architecture=st.sampled_from(("resnet18", "resnet34", "resnet50")),
    weights=st.just("random"),
    resize=st.sampled_from((32, 45)),
    num_classes=st.integers(2, 12),
)


def test_every_recipe_of_the_table_is_there() -> None:
    assert set(recipe_names()) == {*GOLDEN, "resnet_fast"}


@pytest.mark.parametrize(("name", "parameters"), GOLDEN.items())
def test_golden_counts(name: str, parameters: int) -> None:
    config = Candidate.named(name).network
    network = config.build()
    assert config.cost().parameters == parameters
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert thop_parameters(network) == parameters
    assert measure_cost(network, config.image_size) == config.cost()


def test_only_layer4_and_fc_of_the_transferred_network_train() -> None:
    config = Candidate.named("resnet18_transfer").network
    assert isinstance(config, TransferConfig)
    trainable = {name: p.numel() for name, p in config.build().named_parameters() if p.requires_grad}
    assert {name.partition(".")[0] for name in trainable} == {"layer4", "fc"}
    assert sum(trainable.values()) == config.trainable_parameters == 8_398_858


def assert_built_as_described(config: Any) -> None:
    """Every described layer is the module of its name, puts out the described shape, and none is left out."""
    network = config.build()
    shapes: dict[str, tuple[int, ...]] = {}
    layers: dict[str, Layer] = {layer.name: layer for layer in config.layers()}
    order: list[str] = []

    def watch(name: str, module: nn.Module) -> None:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            shapes[name] = tuple(output.shape[1:])
            order.append(name)

        module.register_forward_hook(hook)

    for name, module in network.named_modules():
        if name in layers:
            watch(name, module)
        elif not list(module.children()):
            assert not list(module.parameters()), name
            assert not isinstance(module, nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d), name
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, config.image_size, config.image_size))
    assert {name: count(network.get_submodule(name)) for name in layers} == {
        name: layer.parameters for name, layer in layers.items()
    }
    for name, layer in layers.items():
        expected = (layer.out_channels, layer.out_size, layer.out_size)
        assert shapes[name] == (expected[:1] if layer.kind == "linear" else expected), name
        module = network.get_submodule(name)
        if isinstance(module, nn.Conv2d):
            found = (module.kernel_size, module.stride, module.dilation, module.groups, module.bias is not None)
            sides = [(side, side) for side in (layer.kernel, layer.stride, layer.dilation)]
            assert found == (*sides, layer.groups, layer.bias), name
        if isinstance(module, nn.MaxPool2d):
            assert (module.kernel_size, module.stride) == (layer.kernel, layer.stride), name
    main_path = [name for name in order if not layers[name].branch]
    assert main_path == [name for name, layer in layers.items() if not layer.branch]
    assert config.cost() == measure_cost(network, config.image_size)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters(recurse=False))


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_networks_are_built_as_described(name: str) -> None:
    assert_built_as_described(Candidate.named(name).network)


@given(st.one_of(cnns, resnet9s, depthwises, fast_resnets))
@settings(max_examples=30, deadline=None)
def test_any_configuration_is_built_as_described(config: Any) -> None:
    assert_built_as_described(config)


@given(transfers)
@settings(max_examples=6, deadline=None)
def test_any_transferred_network_is_built_as_described(config: TransferConfig) -> None:
    assert_built_as_described(config)


@given(st.one_of(cnns, resnet9s, depthwises, fast_resnets, transfers))
@settings(max_examples=30, deadline=None)
def test_json_round_trip_and_protocols(config: NetworkConfig) -> None:
    assert network_from_dict(json.loads(json.dumps(to_dict(config))), where="test") == config
    assert isinstance(config, Layered)
    assert NETWORKS[config.kind] is type(config)


SMALL = [
    CnnConfig(stages=((8, 8), (12,)), hidden=(16,)),
    CnnConfig(stages=((8,),), hidden=(), norm=False, dropout=0.0),
    ResNet9Config(widths=(4, 8, 12, 16)),
    DepthwiseConfig(stem=4, widths=(8, 8, 12, 16)),
    FastResNetConfig(widths=(8, 12, 16)),
    FastResNetConfig(widths=(8, 12, 16), convolutions=3, residual=False, frozen_norm_scale=False, logit_scale=1.0),
    TransferConfig(weights="random", resize=32, trainable=("stem", "layer1", "layer2", "layer3", "layer4")),
]


@pytest.mark.parametrize("config", SMALL, ids=lambda config: config.kind)
def test_every_parameter_gets_a_gradient_and_the_loss_falls(config: Any) -> None:
    config = config.with_classes(4, 16)
    network = config.build()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    images, labels = torch.randn(16, 3, 16, 16), torch.arange(16) % 4
    losses = []
    for _ in range(8):
        logits = network(images)
        assert logits.shape == (16, 4)
        loss = nn.functional.cross_entropy(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.item())
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, name
                assert parameter.grad.isfinite().all(), name
        optimizer.step()
        optimizer.zero_grad()
    assert min(losses[-3:]) < losses[0]


def test_residual_adds_its_input() -> None:
    x, inner = torch.randn(2, 3), nn.Linear(3, 3)
    assert torch.equal(Residual(inner, nn.ReLU())(x), x + inner(x).relu())


def test_resnet9_has_two_residuals_and_pools_to_one_pixel() -> None:
    network = ResNet9Config().build()
    assert [name for name, m in network.named_modules() if isinstance(m, Residual)] == [
        "layer1.residual",
        "layer3.residual",
    ]
    layers = {layer.name: layer for layer in ResNet9Config().layers()}
    assert (layers["pool"].kernel, layers["pool"].out_size, layers["fc"].bias) == (4, 1, False)


def test_half_of_the_small_networks_depthwise_convolutions_are_dilated() -> None:
    layers = list(DepthwiseConfig().layers())
    depthwise = [layer for layer in layers if layer.groups > 1]
    assert len(depthwise) == 8
    assert all(layer.groups == layer.in_channels == layer.out_channels for layer in depthwise)
    assert [layer.dilation for layer in depthwise] == [1, 2] * 4
    assert 200_000 <= DepthwiseConfig().cost().parameters <= 300_000


def test_the_published_figures_are_the_sources() -> None:
    published = {name: RecipeFile.named(name).published for name in recipe_names()}
    assert {name: found.test_accuracy for name, found in published.items() if found} == {
        "resnet_16_32_64": 87.06,
        "cnn_64_128_256": 89.11,
        "resnet18_transfer": 91.95,
        "resnet9_onecycle": 92.22,
        "resnet50_adamw": 90.92,
        "resnet24_budget5m": 95.56,
        "baseline_cnn": 69.0,
    }
    for name, found in published.items():
        assert RecipeFile.named(name).about
        if found and found.per_class:  # they average to the accuracy, since the test images are balanced
            assert sum(found.per_class) / 10 == pytest.approx(found.test_accuracy, abs=0.06), name


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"kind": "cnn", "stages": []}, "at least one a stage; got 'stages"),
        ({"kind": "cnn", "stages": [[]]}, "at least one a stage"),
        ({"kind": "cnn", "stages": [[8], [0]]}, "positive numbers"),
        ({"kind": "cnn", "hidden": ["a"]}, r"hidden\.0: input should be a valid integer; got 'a'"),
        ({"kind": "cnn", "dropout": 1.0}, r"\[0, 1\)"),
        ({"kind": "cnn", "stages": [[1]] * 6}, "64 pixels or more; got 32"),
        ({"kind": "cnn", "blocks": [1]}, "unknown key 'blocks'.*stages, hidden"),
        ({"kind": "resnet9", "widths": [1, 2, 3]}, r"widths"),
        ({"kind": "resnet9", "widths": [1, 2, 3, 0]}, "widths must be positive"),
        ({"kind": "depthwise", "dilation": 0}, "dilation must be positive"),
        ({"kind": "depthwise", "image_size": 4}, "8 pixels or more"),
        ({"kind": "fast_resnet", "widths": [8, 8]}, "widths"),
        ({"kind": "fast_resnet", "widths": [8, 0, 8]}, "widths must be positive"),
        ({"kind": "fast_resnet", "convolutions": 4}, "convolutions must be 2 or 3; got 4"),
        ({"kind": "fast_resnet", "whitening_kernel": 4}, "whitening_kernel must be 2 or 3"),
        ({"kind": "fast_resnet", "whitening_width": 26}, r"an even number in 2\.\.24"),
        ({"kind": "fast_resnet", "whitening_width": 7}, r"an even number in 2\.\.24"),
        ({"kind": "fast_resnet", "norm_momentum": 0.0}, r"norm_momentum must be in \(0, 1\]"),
        ({"kind": "fast_resnet", "initialization": "zeros"}, "'kaiming' or 'dirac'"),
        ({"kind": "fast_resnet", "logit_scale": 0.0}, "logit_scale must be positive"),
        ({"kind": "fast_resnet", "num_classes": 1}, "num_classes must be 2 or more"),
        ({"kind": "fast_resnet", "image_size": 8}, "9 pixels or more"),
        ({"kind": "fast_resnet", "image_size": 9, "whitening_kernel": 3}, "10 pixels or more"),
        ({"kind": "imagenet_resnet", "architecture": "resnet19"}, "'resnet18', 'resnet34' or 'resnet50'"),
        ({"kind": "imagenet_resnet", "trainable": ["layer5"]}, "got 'layer5'. Parts: stem, layer1"),
        ({"kind": "imagenet_resnet", "resize": 8}, "32 pixels or more"),
        ({"kind": "imagenet_resnet", "weights": ""}, "imagenet, random or a file"),
    ],
)
def test_impossible_settings_are_refused(data: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        network_from_dict(data, where="x.toml")
    assert str(caught.value).startswith("x.toml: network")
