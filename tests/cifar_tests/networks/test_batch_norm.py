"""The fused batch norm: the same as PyTorch's operations, forward and backward, and these where it does not fit."""

from __future__ import annotations

import copy
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cifar.networks import batch_norm
from cifar.networks.batch_norm import norm_act
from cifar.networks.resnet import ResNetConfig
from cifar.networks.sequence import Sequence
from tests.cifar_tests.networks import operand_sets

HAS_KERNEL = batch_norm._kernel(torch.float32) is not None
needs_kernel = pytest.mark.skipif(not HAS_KERNEL, reason="no kernel: needs Linux, GNU OpenMP and a C compiler")


def channels_last(*shape: int) -> Tensor:
    return (torch.randn(shape) * 3 + 1).contiguous(memory_format=torch.channels_last)


def fuses(norm: nn.Module, x: Tensor, residual: Tensor | None = None) -> bool:
    y = norm_act(norm, None, x, residual)  # kept, since torch 2.11 forgets the name with the tensor
    return "FusedBatchNorm" in y.grad_fn.name()  # type: ignore[union-attr]


def test_there_is_a_kernel_where_there_is_a_compiler() -> None:
    assert HAS_KERNEL or not sys.platform.startswith("linux") or shutil.which("cc") is None


@needs_kernel
@settings(deadline=None, max_examples=40)
@given(
    images=st.integers(1, 40),
    channels=st.integers(1, 70),
    side=st.sampled_from((4, 5, 8, 16)),
    dtype=st.sampled_from((torch.float32, torch.bfloat16)),
    relu=st.booleans(),
    adds=st.booleans(),
    shift=st.sampled_from((0.0, 30.0)),
    seed=st.integers(0, 2**20),
)
def test_values_gradients_and_statistics_are_those_of_double_precision(
    images: int, channels: int, side: int, dtype: torch.dtype, relu: bool, adds: bool, shift: float, seed: int
) -> None:
    torch.manual_seed(seed)
    norm = nn.BatchNorm2d(channels)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias)
    exact = copy.deepcopy(norm).double()
    x = (channels_last(images, channels, side, side) + shift).to(dtype).requires_grad_()
    residual = channels_last(images, channels, side, side).to(dtype).requires_grad_() if adds else None
    exact_x = x.detach().double().requires_grad_()
    exact_residual = residual.detach().double().requires_grad_() if residual is not None else None

    y = norm_act(norm, nn.ReLU() if relu else None, x, residual)
    before = exact(exact_x) + (exact_residual if exact_residual is not None else 0)
    exact_y = before.relu() if relu else before
    assert y.grad_fn is not None
    assert "FusedBatchNorm" in y.grad_fn.name()

    # rounding may move what is nearly 0 to the other side of the ReLU, and there gradients jump
    gradient = torch.randn(y.shape) * (before.abs() > 0.1 if relu else 1)
    gradient = gradient.to(dtype)
    y.backward(gradient)  # type: ignore[no-untyped-call]
    exact_y.backward(gradient.double())

    precision = 2e-5 if dtype is torch.float32 else 1e-2
    precision *= 1 + shift  # a great mean costs digits

    def close(ours: Tensor | None, theirs: Tensor | None, tolerance: float = precision) -> None:
        assert ours is not None
        assert theirs is not None
        scale = theirs.abs().max().clamp_min(1)
        torch.testing.assert_close(ours.double() / scale, theirs / scale, rtol=0, atol=tolerance)

    close(y, exact_y)
    close(x.grad, exact_x.grad)
    close(norm.weight.grad, exact.weight.grad)
    close(norm.bias.grad, exact.bias.grad)
    close(norm.running_mean, exact.running_mean, 1e-4)
    close(norm.running_var, exact.running_var, 1e-4)
    assert norm.num_batches_tracked == 1
    if residual is not None and exact_residual is not None:
        close(residual.grad, exact_residual.grad)


@needs_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sums_do_not_depend_on_the_number_of_threads(dtype: torch.dtype) -> None:
    x, residual, gradient = (channels_last(9, 24, 32, 32).to(dtype) for _ in range(3))
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            norm, given_x = nn.BatchNorm2d(24), x.clone().requires_grad_()
            y = norm_act(norm, nn.ReLU(), given_x, residual)
            y.backward(gradient)  # type: ignore[no-untyped-call]
            found.append((y, given_x.grad, norm.weight.grad, norm.bias.grad, norm.running_var))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        for first, second in zip(found[0], other, strict=True):
            assert first is not None
            assert second is not None
            assert torch.equal(first, second)


@needs_kernel
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nan_and_infinity_stay(dtype: torch.dtype) -> None:
    x = channels_last(4, 16, 8, 8).to(dtype)
    x[0, 0, 0, 0] = float("nan")
    x[0, 1, 0, 0] = float("inf")
    with torch.no_grad():
        y = norm_act(nn.BatchNorm2d(16), nn.ReLU(), x)
    assert y[:, 0].isnan().all()
    assert y[:, 1].isnan().any()
    assert y[:, 2:].isfinite().all()


class LeakingReLU(nn.ReLU):
    def forward(self, input: Tensor) -> Tensor:
        return F.leaky_relu(input)


class GhostNorm(nn.BatchNorm2d):
    """Statistics of halves of the batch."""

    def forward(self, input: Tensor) -> Tensor:
        return torch.cat([super(GhostNorm, self).forward(half) for half in input.chunk(2)])


@needs_kernel
@pytest.mark.parametrize("act", [nn.SiLU(), LeakingReLU()])
def test_other_activations_follow_the_kernel(act: nn.Module) -> None:
    norm, x = nn.BatchNorm2d(16), channels_last(4, 16, 8, 8)
    theirs = act(copy.deepcopy(norm)(x))
    torch.testing.assert_close(norm_act(norm, act, x), theirs)
    torch.testing.assert_close(Sequence(copy.deepcopy(norm), act)(x), theirs)


def test_a_subclass_of_batch_norm_keeps_its_own_ways() -> None:
    norm, x = GhostNorm(16), channels_last(4, 16, 8, 8)
    theirs = copy.deepcopy(norm)(x).relu()
    torch.testing.assert_close(norm_act(copy.deepcopy(norm), nn.ReLU(), x), theirs)
    torch.testing.assert_close(Sequence(norm, nn.ReLU())(x), theirs)


# ---- operands that do not fit


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    """What the kernel's operands led to, by the name of their set; a set that crashed the process has no outcome."""
    line = [sys.executable, "-W", "ignore", "-m", operand_sets.__name__]
    run = subprocess.run(line, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3])
    return dict(line.split(": ", 1) for line in run.stdout.splitlines())


@needs_kernel
@pytest.mark.parametrize("name", operand_sets.OPERAND_SETS)
def test_operands_compute_or_raise_as_in_pytorch(outcomes: dict[str, str], name: str) -> None:
    assert outcomes.get(name) in ("equal", "raises alike")


@needs_kernel
@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_a_frozen_scale_or_bias_gets_no_gradient(frozen: str) -> None:
    norm, x = nn.BatchNorm2d(16), channels_last(4, 16, 8, 8).requires_grad_()
    norm.get_parameter(frozen).requires_grad_(False)
    theirs, their_x = copy.deepcopy(norm), x.detach().clone().requires_grad_()
    assert fuses(norm, x)
    norm_act(norm, nn.ReLU(), x).square().sum().backward()  # type: ignore[no-untyped-call]
    theirs(their_x).relu().square().sum().backward()
    assert norm.get_parameter(frozen).grad is None
    for ours, their in zip((x, *norm.parameters()), (their_x, *theirs.parameters()), strict=True):
        torch.testing.assert_close(ours.grad, their.grad, rtol=1e-4, atol=1e-4)


@needs_kernel
def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    x = channels_last(4, 16, 8, 8).requires_grad_()
    (gradient,) = torch.autograd.grad(norm_act(nn.BatchNorm2d(16), None, x).pow(3).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()  # type: ignore[no-untyped-call]


@needs_kernel
def test_pytorch_does_what_the_kernel_cannot() -> None:
    x = channels_last(4, 16, 8, 8)
    assert fuses(nn.BatchNorm2d(16), x)
    assert fuses(nn.BatchNorm2d(16), x, x)
    assert not fuses(nn.BatchNorm2d(16).eval(), x)
    assert not fuses(nn.BatchNorm2d(16), x.contiguous())
    assert not fuses(nn.BatchNorm2d(16), x, x.contiguous())
    assert not fuses(nn.BatchNorm2d(16, momentum=None), x)
    assert not fuses(nn.BatchNorm2d(16).double(), x.double())
    assert not fuses(nn.SyncBatchNorm(16), x)
    with pytest.raises(ValueError, match="more than 1 value"):
        norm_act(nn.BatchNorm2d(16), None, channels_last(1, 16, 1, 1))


@needs_kernel
@pytest.mark.parametrize("block", ["basic", "preact", "bottleneck"])
@pytest.mark.parametrize("squeeze_excitation", [False, True])
def test_a_network_trains_alike_with_and_without(
    block: str, squeeze_excitation: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ResNetConfig(
        blocks=(2, 1, 1),
        channels=(8, 18, 32),
        block=block,  # type: ignore[arg-type]
        squeeze_excitation=squeeze_excitation,
    )
    images = channels_last(8, 3, 32, 32)

    def gradients(network: nn.Module) -> dict[str, Tensor]:
        network.to(memory_format=torch.channels_last).train()
        F.cross_entropy(network(images), torch.arange(8)).backward()  # type: ignore[no-untyped-call]
        found = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
        return {**found, **{name: b.float() for name, b in network.named_buffers()}}

    network = config.build()
    for module in network.modules():  # branches that start at zero would hide most gradients
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    other = copy.deepcopy(network)
    fused = gradients(network)
    with monkeypatch.context() as patched:
        patched.setattr(batch_norm, "_fits", lambda *_: False)
        plain = gradients(other)
    assert fused.keys() == plain.keys()
    for name, value in plain.items():
        assert (fused[name] - value).norm() <= 1e-2 * value.norm() + 1e-3, name


def test_a_sequence_runs_every_module_once() -> None:
    modules = [nn.Conv2d(3, 16, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.BatchNorm2d(16), nn.SiLU(), nn.ReLU()]
    x = channels_last(4, 3, 8, 8)
    plain, ours = nn.Sequential(*copy.deepcopy(modules)), Sequence(*modules)
    torch.testing.assert_close(ours(x), plain(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.eval()(x), plain.eval()(x), rtol=1e-4, atol=1e-5)
    relu = nn.ReLU()
    twice = Sequence(nn.BatchNorm2d(16), relu, nn.Conv2d(16, 16, 1), relu)
    assert (twice(channels_last(4, 16, 8, 8)) >= 0).all()


@needs_kernel
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the options are those of x86-64")
@pytest.mark.parametrize("without", ["-mno-avx512bf16", "-mno-avx512f", "-mno-avx"])
def test_other_processors_round_alike(without: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, residual = (channels_last(3, 20, 8, 8).to(torch.bfloat16) for _ in range(2))
    x[0, 0, 0, 0] = float("nan")
    expected = norm_act(nn.BatchNorm2d(20), nn.ReLU(), x, residual)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", f"cc {without} -Wno-psabi")
    kernel = batch_norm._kernel.__wrapped__(torch.bfloat16)
    assert kernel is not None
    monkeypatch.setattr(batch_norm, "_kernel", lambda _: kernel)
    found = norm_act(nn.BatchNorm2d(20), nn.ReLU(), x, residual)
    # a product and a sum are rounded once or twice, by processor: bfloat16 has 8 digits
    torch.testing.assert_close(found, expected, rtol=2**-7, atol=2**-7, equal_nan=True)
