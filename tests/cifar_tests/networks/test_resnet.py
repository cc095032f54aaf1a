"""ResNets: what is counted is what is built, for every configuration."""

from __future__ import annotations

import copy
import json
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from cifar.config import from_dict, to_dict
from cifar.errors import ConfigError
from cifar.networks.complexity import measure_cost, thop_parameters
from cifar.networks.resnet import ResNetConfig
from cifar.networks.resnet_block import ActivationName, Block


@st.composite
def configs(draw: st.DrawFn, deepest: int = 3, widest: int = 40) -> ResNetConfig:
    stages = draw(st.sampled_from((3, 4)))
    image_size = draw(st.sampled_from((16, 31, 32)))
    small = ResNetConfig(blocks=(1,) * stages, channels=(1,) * stages, image_size=image_size)
    return ResNetConfig(
        blocks=tuple(draw(st.lists(st.integers(1, deepest), min_size=stages, max_size=stages))),
        channels=tuple(draw(st.lists(st.integers(1, widest), min_size=stages, max_size=stages))),
        stem=draw(st.integers(1, widest)),
        block=draw(st.sampled_from(("basic", "preact", "bottleneck"))),
        kernel=draw(st.sampled_from((3, 5))),
        shortcut_kernel=draw(st.sampled_from((1, 3))),
        pool=draw(st.integers(0, small.map_size)),
        squeeze_excitation=draw(st.booleans()),
        activation=draw(st.sampled_from(get_args(ActivationName))),
        dropout=draw(st.sampled_from((0.0, 0.3))),
        stochastic_depth=draw(st.sampled_from((0.0, 0.2))),
        conv_bias=draw(st.booleans()),
        frozen_norm_scale=draw(st.booleans()),
        norm_momentum=draw(st.sampled_from((0.1, 0.4))),
        initialization=draw(st.sampled_from(("kaiming", "dirac"))),
        logit_scale=draw(st.sampled_from((1.0, 1 / 9))),
        num_classes=draw(st.integers(2, 12)),
        image_size=image_size,
    )


GOLDEN = [
    ((3, 4, 3), (66, 132, 264), 4_916_284),
    ((3, 5, 3), (64, 128, 256), 4_918_602),
    ((2, 2, 2), (16, 32, 64), 175_258),
    ((2, 2, 2, 2), (64, 128, 256, 512), 11_173_962),
]


@pytest.mark.parametrize(("blocks", "channels", "parameters"), GOLDEN)
def test_published_parameter_counts(blocks: tuple[int, ...], channels: tuple[int, ...], parameters: int) -> None:
    config = ResNetConfig(blocks=blocks, channels=channels, stem=channels[0])
    network = config.build()
    assert config.cost().parameters == parameters
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert thop_parameters(network) == parameters


@pytest.mark.parametrize(("conv_bias", "parameters"), [(True, 23_547_402), (False, 23_520_842)])
def test_resnet50_with_and_without_conv_bias(conv_bias: bool, parameters: int) -> None:
    config = ResNetConfig(
        blocks=(3, 4, 6, 3), channels=(64, 128, 256, 512), stem=64, block="bottleneck", conv_bias=conv_bias
    )
    assert config.cost().parameters == parameters


@given(configs())
@settings(max_examples=40)
def test_closed_form_equals_built_network(config: ResNetConfig) -> None:
    network = config.build()
    assert config.cost() == measure_cost(network, config.image_size)
    by_module = {name: sum(p.numel() for p in m.parameters(recurse=False)) for name, m in network.named_modules()}
    counted = {layer.name: layer.parameters for layer in config.layers() if layer.kind != "pool"}
    assert counted == {name: count for name, count in by_module.items() if count}


@given(configs())
@settings(max_examples=10)
def test_thop_agrees_and_leaves_the_network_untouched(config: ResNetConfig) -> None:
    network = config.build()
    before = set(network.state_dict())
    assert thop_parameters(network, config.image_size) == config.cost().parameters
    assert set(network.state_dict()) == before


def test_macs_are_half_of_torchs_flops() -> None:
    config = ResNetConfig(block="preact", squeeze_excitation=True)
    with FlopCounterMode(display=False) as counter:
        config.build()(torch.zeros(2, 3, 32, 32))
    assert counter.get_total_flops() == 2 * 2 * config.cost().macs  # 2 images


@given(configs())
@settings(max_examples=25)
def test_json_round_trip(config: ResNetConfig) -> None:
    assert from_dict(ResNetConfig, json.loads(json.dumps(to_dict(config))), where="test") == config


@given(configs(deepest=2, widest=12))
@settings(max_examples=15)
def test_forward_and_backward(config: ResNetConfig) -> None:
    network = config.build()
    logits = network(torch.randn(4, 3, config.image_size, config.image_size))
    assert logits.shape == (4, config.num_classes)
    assert logits.isfinite().all()
    torch.nn.functional.cross_entropy(logits, torch.arange(4) % config.num_classes).backward()  # type: ignore[no-untyped-call]
    scales = {f"{name}.weight" for name, m in network.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert frozen == (scales if config.frozen_norm_scale else set())
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("block", ["basic", "bottleneck", "preact"])
@pytest.mark.parametrize("squeeze_excitation", [False, True])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_working_in_place_changes_no_gradient(
    block: Any, squeeze_excitation: bool, activation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ResNetConfig(
        blocks=(2, 1, 1),
        channels=(8, 8, 16),
        stem=8,
        block=block,
        squeeze_excitation=squeeze_excitation,
        activation=activation,
    )
    network = config.build()
    with torch.no_grad():  # residual branches that count
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
    apart = copy.deepcopy(network)
    for module in apart.modules():
        if isinstance(module, torch.nn.ReLU | torch.nn.LeakyReLU):
            module.inplace = False
    images = torch.randn(4, 3, 32, 32)
    network(images).square().sum().backward()
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "__iadd__", torch.Tensor.__add__)
        apart(images).square().sum().backward()
    for (name, parameter), other in zip(network.named_parameters(), apart.parameters(), strict=True):
        assert parameter.grad is not None
        assert other.grad is not None
        assert torch.equal(parameter.grad, other.grad), name


@pytest.mark.parametrize("name", ["basic", "bottleneck"])
def test_residual_branches_start_at_zero(name: Any) -> None:
    network = ResNetConfig(block=name).build()
    blocks = [m for m in network.modules() if isinstance(m, Block)]
    assert len(blocks) == 6
    for block in blocks:
        last = block.norms[-1].weight
        assert isinstance(last, torch.Tensor)
        assert not last.any()


def test_frozen_scales_are_one_so_that_no_branch_is_switched_off() -> None:
    network = ResNetConfig(frozen_norm_scale=True, norm_momentum=0.4).build()
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 15
    for norm in norms:
        assert (norm.weight == 1).all()
        assert (norm.weight.requires_grad, norm.bias.requires_grad) == (False, True)
        assert norm.momentum == 0.4


@pytest.mark.parametrize("block", ["basic", "preact", "bottleneck"])
def test_by_dirac_every_convolution_passes_its_inputs_on(block: Any) -> None:
    network = ResNetConfig(block=block, initialization="dirac", conv_bias=False).build()
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) >= 15
    for conv in convolutions:
        x = torch.randn(2, conv.in_channels, 8, 8)
        passed = min(conv.in_channels, conv.out_channels)
        stride = conv.stride[0]
        torch.testing.assert_close(conv(x)[:, :passed], x[:, :passed, ::stride, ::stride])
        assert conv.weight[passed:].abs().sum() > 0 or passed == conv.out_channels


def test_logits_are_scaled() -> None:
    torch.manual_seed(0)
    plain = ResNetConfig().build()
    scaled = ResNetConfig(logit_scale=0.25).build()
    scaled.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(scaled.eval()(images), 0.25 * plain.eval()(images))


NEW = {"frozen_norm_scale": True, "norm_momentum": 0.4, "initialization": "dirac", "logit_scale": 0.5}


def test_settings_that_older_candidates_lack_are_written_only_where_they_differ() -> None:
    plain = ResNetConfig()
    assert not NEW.keys() & to_dict(plain).keys()
    assert NEW.items() <= to_dict(ResNetConfig(**NEW)).items()  # type: ignore[arg-type]


def test_stochastic_depth_drops_samples_in_training_only() -> None:
    network = ResNetConfig(stochastic_depth=0.9).build()
    block = [m for m in network.modules() if isinstance(m, Block)][-1]
    assert block.drop.p == pytest.approx(0.9)
    assert next(m for m in network.modules() if isinstance(m, Block)).drop.p == 0
    assert (block.drop(torch.ones(200, 1, 1, 1)) == 0).float().mean() > 0.5
    network.eval()
    assert (block.drop(torch.ones(200, 1, 1, 1)) == 1).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"blocks": (1, 1)}, "3 or 4 stages"),
        ({"channels": (1, 1, 1, 1)}, "one number a stage"),
        ({"blocks": (1, 0, 1)}, "blocks must be positive"),
        ({"kernel": 4}, "3 or 5"),
        ({"shortcut_kernel": 2}, "1 or 3"),
        ({"pool": 9}, r"1\.\.8"),
        ({"dropout": 1.0}, r"\[0, 1\)"),
        ({"stem": 0}, "stem must be positive"),
        ({"num_classes": 1}, "2 or more"),
        ({"image_size": 4}, "8 pixels"),
        ({"norm_momentum": 0.0}, r"norm_momentum must be in \(0, 1\]"),
        ({"norm_momentum": 1.1}, r"norm_momentum must be in \(0, 1\]"),
        ({"logit_scale": 0.0}, "logit_scale must be positive"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ResNetConfig(**changes)
