"""The max pooling of the CPU's kernel: PyTorch's to the bit, forward and backward, and this where it does not fit."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cifar.networks import max_pool as module
from cifar.networks.max_pool import max_pool
from cifar.networks.sequence import Sequence

HAS_KERNEL = module._kernel(torch.float32) is not None
needs_kernel = pytest.mark.skipif(not HAS_KERNEL, reason="no kernel: needs Linux, GNU OpenMP and a C compiler")
POOL = nn.MaxPool2d(2)


def few_values(*shape: int) -> Tensor:
    """Activations of which many are equal, some are infinite and some are NaN."""
    x = torch.randint(-3, 4, shape).float()
    x[torch.rand(shape) < 0.05] = float("nan")
    x[torch.rand(shape) < 0.05] = -float("inf")
    return x.contiguous(memory_format=torch.channels_last)


def by_kernel(y: Tensor) -> bool:
    return "_MaxPool" in y.grad_fn.name()  # type: ignore[union-attr]


def gradient_of(pooled: Tensor, x: Tensor, gradient: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(pooled, x, gradient)
    return found


@needs_kernel
@settings(deadline=None, max_examples=60)
@given(
    images=st.integers(1, 5),
    channels=st.integers(1, 70),
    height=st.integers(2, 9),
    width=st.integers(2, 9),
    dtype=st.sampled_from((torch.float32, torch.bfloat16)),
    seed=st.integers(0, 2**20),
)
def test_values_and_gradients_are_pytorchs(
    images: int, channels: int, height: int, width: int, dtype: torch.dtype, seed: int
) -> None:
    torch.manual_seed(seed)
    x = few_values(images, channels, height, width).to(dtype).requires_grad_()
    ours, theirs = max_pool(POOL, x), POOL(x)
    assert by_kernel(ours)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
    gradient = torch.randn(ours.shape).to(dtype)
    assert torch.equal(gradient_of(ours, x, gradient), gradient_of(theirs, x, gradient))


@needs_kernel
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the options are those of x86-64")
@pytest.mark.parametrize("without", ["-mno-avx512bf16", "-mno-avx"])
def test_other_processors_pool_alike(without: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = few_values(3, 40, 7, 8).to(torch.bfloat16).requires_grad_()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", f"cc {without} -Wno-psabi")
    kernel = module._kernel.__wrapped__(torch.bfloat16)
    assert kernel is not None
    monkeypatch.setattr(module, "_kernel", lambda _: kernel)
    ours, theirs = max_pool(POOL, x), POOL(x)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
    gradient = torch.randn(ours.shape).to(torch.bfloat16)
    assert torch.equal(gradient_of(ours, x, gradient), gradient_of(theirs, x, gradient))


@needs_kernel
def test_pytorch_does_what_the_kernel_cannot() -> None:
    x = torch.randn(2, 8, 6, 6).contiguous(memory_format=torch.channels_last).requires_grad_()
    assert by_kernel(max_pool(POOL, x))
    assert by_kernel(Sequence(nn.MaxPool2d((2, 2), stride=(2, 2)))(x))
    for given_x in (x.contiguous(), x.double(), x[:, :, :, ::2]):
        assert not by_kernel(max_pool(POOL, given_x))
    others = ({"stride": 1}, {"padding": 1}, {"dilation": 2}, {"ceil_mode": True})
    for pool in (nn.MaxPool2d(3), nn.MaxPool2d(2).eval(), *(nn.MaxPool2d(2, **other) for other in others)):
        torch.testing.assert_close(max_pool(pool, x), pool(x))
        assert not by_kernel(max_pool(pool, x))
    y, indices = max_pool(nn.MaxPool2d(2, return_indices=True), x)
    assert y.shape == indices.shape
    with pytest.raises(RuntimeError, match="too small"):
        max_pool(POOL, x[:, :, :1])


@needs_kernel
def test_a_second_derivative_is_refused_rather_than_wrong() -> None:
    x = torch.randn(2, 8, 6, 6).contiguous(memory_format=torch.channels_last).requires_grad_()
    (gradient,) = torch.autograd.grad(max_pool(POOL, x).pow(3).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()  # type: ignore[no-untyped-call]
