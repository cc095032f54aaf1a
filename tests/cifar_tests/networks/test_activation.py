"""Activations by table: the exact values, rounded once, forward and backward; PyTorch's where the tables do not fit."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cifar.networks import activation as module
from cifar.networks.activation import activate
from cifar.networks.batch_norm import norm_act
from cifar.networks.sequence import Sequence

needs_kernel = pytest.mark.skipif(
    module._kernel() is None, reason="no kernel: needs Linux, GNU OpenMP and a C compiler"
)
activations = st.sampled_from([act() for act in module.TABLED])
LAST_BIT = 2.0**-7
"""Of a bfloat16, relative to its value."""


def activations_of(*shape: int) -> Tensor:
    """Mostly numbers near 0, some large, some infinite, some NaN."""
    x = torch.randn(shape)
    x[torch.rand(shape) < 0.05] *= 100
    x[torch.rand(shape) < 0.02] = float("inf")
    x[torch.rand(shape) < 0.02] = float("nan")
    return x.to(torch.bfloat16).contiguous(memory_format=torch.channels_last)


def by_kernel(y: Tensor) -> bool:
    return "_Activation" in y.grad_fn.name()  # type: ignore[union-attr]


def gradient_of(activated: Tensor, x: Tensor, gradient: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(activated, x, gradient)
    return found


@needs_kernel
@settings(deadline=None, max_examples=60)
@given(
    act=activations,
    images=st.integers(1, 5),
    channels=st.integers(1, 70),
    side=st.integers(1, 9),
    seed=st.integers(0, 2**20),
)
def test_values_and_gradients_are_the_exact_ones_rounded(
    act: nn.Module, images: int, channels: int, side: int, seed: int
) -> None:
    torch.manual_seed(seed)
    x = activations_of(images, channels, side, side).requires_grad_()
    exact_x = x.detach().double().requires_grad_()
    ours, exact = activate(act, x), act(exact_x)
    assert by_kernel(ours)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ours, exact.to(torch.bfloat16), rtol=0, atol=0, equal_nan=True)
    gradient = torch.randn(ours.shape).to(torch.bfloat16)
    found, known = gradient_of(ours, x, gradient), gradient_of(exact, exact_x, gradient.double())
    torch.testing.assert_close(found, known.to(torch.bfloat16), rtol=LAST_BIT, atol=1e-30, equal_nan=True)


@needs_kernel
@pytest.mark.parametrize("act", [act() for act in module.TABLED])
def test_values_and_gradients_are_pytorchs_but_for_its_own_errors(act: nn.Module) -> None:
    x = torch.randn(8, 64, 8, 8).to(torch.bfloat16).contiguous(memory_format=torch.channels_last).requires_grad_()
    ours, theirs, gradient = activate(act, x), act(x), torch.randn(x.shape).to(torch.bfloat16)
    torch.testing.assert_close(ours, theirs, rtol=LAST_BIT, atol=1e-6)
    torch.testing.assert_close(
        gradient_of(ours, x, gradient), gradient_of(theirs, x, gradient), rtol=LAST_BIT, atol=1e-6
    )


@needs_kernel
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the options are those of x86-64")
@pytest.mark.parametrize("without", ["-mno-avx512bf16", "-mno-avx"])
def test_other_processors_look_up_alike(without: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(3, 20, 7, 8).to(torch.bfloat16).contiguous(memory_format=torch.channels_last).requires_grad_()
    gradient = torch.randn(x.shape).to(torch.bfloat16)
    here = activate(nn.GELU(), x)
    expected = gradient_of(here, x, gradient)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", f"cc {without} -Wno-psabi")
    kernel = module._kernel.__wrapped__()
    assert kernel is not None
    monkeypatch.setattr(module, "_kernel", lambda: kernel)
    there = activate(nn.GELU(), x)
    assert torch.equal(there, here)
    assert torch.equal(gradient_of(there, x, gradient), expected)


@needs_kernel
def test_networks_look_up_after_norms_and_convolutions() -> None:
    x = torch.randn(4, 8, 6, 6).to(torch.bfloat16).contiguous(memory_format=torch.channels_last).requires_grad_()
    assert by_kernel(Sequence(nn.GELU())(x))
    assert by_kernel(Sequence(nn.BatchNorm2d(8), nn.SiLU())(x))
    assert by_kernel(norm_act(nn.BatchNorm2d(8), nn.GELU(), x, x))


@needs_kernel
def test_pytorch_does_what_the_tables_cannot() -> None:
    x = torch.randn(2, 8, 6, 6).to(torch.bfloat16).contiguous(memory_format=torch.channels_last).requires_grad_()
    assert by_kernel(activate(nn.GELU(), x))
    for given_x in (x.contiguous(), x.float(), x[:, :, :, ::2], x[0]):
        assert not by_kernel(activate(nn.GELU(), given_x))

    class Own(nn.GELU):
        pass

    for act in (nn.GELU("tanh"), nn.GELU().eval(), nn.ReLU(), nn.LeakyReLU(), Own()):
        torch.testing.assert_close(activate(act, x), act(x))
        assert not by_kernel(activate(act, x))
    assert not by_kernel(activate(nn.SiLU(inplace=True), x.clone()))


@needs_kernel
def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    x = torch.randn(2, 8, 6, 6).to(torch.bfloat16).contiguous(memory_format=torch.channels_last).requires_grad_()
    (gradient,) = torch.autograd.grad(activate(nn.GELU(), x).pow(3).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()  # type: ignore[no-untyped-call]
