"""Muon: what the orthogonalisation does to singular values, which parameters it takes, and that it resumes."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cifar import checkpoint
from cifar.muon import ITERATIONS, QUINTIC, Muon, _precision, orthogonalized
from cifar.optim import build_optimizer
from cifar.recipe import Optimizer

pytestmark = pytest.mark.usefixtures("one_thread")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def with_singular_values(values: Tensor, rows: int, columns: int, generator: torch.Generator) -> Tensor:
    left = torch.linalg.qr(torch.randn(rows, rows, generator=generator)).Q[:, : len(values)]
    right = torch.linalg.qr(torch.randn(columns, columns, generator=generator)).Q[:, : len(values)]
    made: Tensor = left @ values.diag() @ right.T
    return made


def after_iterations(value: float) -> float:
    a, b, c = QUINTIC
    for _ in range(ITERATIONS):
        value = a * value + b * value**3 + c * value**5
    return value


@given(st.integers(1, 24), st.integers(1, 24), st.integers(1, 4), st.integers(0, 999), st.floats(1e-3, 1e3))
@settings(max_examples=60, deadline=None)
def test_singular_values_follow_the_quintic_and_singular_vectors_stay(
    rows: int, columns: int, count: int, seed: int, scale: float
) -> None:
    generator, rank = seeded(seed), min(rows, columns)
    values = 0.1 + torch.rand(count, rank, generator=generator)
    given_matrices = torch.stack([with_singular_values(v, rows, columns, generator) for v in values])
    result = orthogonalized(scale * given_matrices)
    for matrix, orthogonal, own in zip(given_matrices, result, values, strict=True):
        expected = torch.tensor([after_iterations(value) for value in (own / own.norm()).tolist()])
        found = torch.linalg.svdvals(orthogonal)
        torch.testing.assert_close(found, expected.sort(descending=True).values, atol=2e-3, rtol=0)
        # same vectors: the product with the transpose is symmetric, as U diag(s t) U^T is
        both = orthogonal @ matrix.T
        torch.testing.assert_close(both, both.T, atol=2e-3, rtol=0)


@given(st.integers(2, 48), st.integers(2, 48), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_well_conditioned_matrices_become_nearly_orthogonal(rows: int, columns: int, seed: int) -> None:
    generator, rank = seeded(seed), min(rows, columns)
    least = 0.01 * math.sqrt(rank)  # 0.01 or more after scaling by the norm
    values = least + (1 - least) * torch.rand(rank, generator=generator)
    (result,) = orthogonalized(with_singular_values(values, rows, columns, generator)[None])
    found = torch.linalg.svdvals(result)
    assert found.min() > 0.68
    assert found.max() < 1.14


def test_a_zero_gradient_moves_nothing() -> None:
    assert torch.equal(orthogonalized(torch.zeros(2, 3, 5)), torch.zeros(2, 3, 5))


def optimizer(weights: list[nn.Parameter], **changed: Any) -> Muon:
    group = {"params": weights, "lr": 0.1, "weight_decay": 0.0, "momentum": 0.6, "orthogonalized": True}
    nesterov, renormalize = changed.pop("nesterov", False), changed.pop("renormalize", False)
    return Muon([group | changed], nesterov=nesterov, renormalize=renormalize)


def weights_with_gradients(*shapes: tuple[int, ...]) -> list[nn.Parameter]:
    weights = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    for weight in weights:
        weight.grad = torch.randn(weight.shape)
    return weights


def alone(direction: Tensor) -> Tensor:
    rows, columns = direction.flatten(1).shape
    (update,) = orthogonalized(direction.flatten(1)[None], _precision(direction.device)).unbind()
    return update.view(direction.shape) * math.sqrt(max(1.0, rows / columns))


def test_matrices_of_equal_shape_are_worked_on_together(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = weights_with_gradients((8, 4, 3, 3), (6, 2, 3, 3), (8, 4, 3, 3), (40, 4, 1, 1))
    before = [weight.detach().clone() for weight in weights]
    expected = [b - 0.1 * alone(w.grad) for b, w in zip(before, weights, strict=True) if w.grad is not None]
    shapes: list[torch.Size] = []

    def watched(matrices: Tensor, precision: torch.dtype) -> Tensor:
        shapes.append(matrices.shape)
        return orthogonalized(matrices, precision)

    monkeypatch.setattr("cifar.muon.orthogonalized", watched)
    optimizer(weights).step()
    assert [tuple(shape) for shape in shapes] == [(2, 8, 36), (1, 6, 18), (1, 40, 4)]
    torch.testing.assert_close([weight.detach() for weight in weights], expected)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_memory_layout_does_not_matter(layout: torch.memory_format) -> None:
    (plain,) = weights_with_gradients((8, 4, 3, 3))
    laid_out = nn.Parameter(plain.detach().clone(memory_format=layout))
    assert plain.grad is not None
    laid_out.grad = plain.grad.clone(memory_format=layout)
    optimizer([plain]).step()
    optimizer([laid_out]).step()
    torch.testing.assert_close(laid_out.detach(), plain.detach())
    assert laid_out.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_orthogonalised_not_the_gradient(nesterov: bool) -> None:
    (weight,) = weights_with_gradients((5, 7))
    assert weight.grad is not None
    muon, expected = optimizer([weight], nesterov=nesterov), weight.detach().clone()
    momentum = torch.zeros(5, 7)
    for _ in range(3):
        weight.grad = torch.randn(5, 7)
        momentum = 0.6 * momentum + weight.grad
        expected -= 0.1 * alone(weight.grad + 0.6 * momentum if nesterov else momentum)
        muon.step()
    torch.testing.assert_close(weight.detach(), expected)


def test_weight_decay_is_decoupled_and_filters_can_be_renormalised() -> None:
    (decayed,), (scaled,) = weights_with_gradients((5, 7)), weights_with_gradients((9, 4))
    before, before_scaled = decayed.detach().clone(), scaled.detach().clone()
    assert decayed.grad is not None
    assert scaled.grad is not None
    optimizer([decayed], weight_decay=0.5).step()
    torch.testing.assert_close(decayed.detach(), before * (1 - 0.1 * 0.5) - 0.1 * alone(decayed.grad))
    optimizer([scaled], renormalize=True).step()
    torch.testing.assert_close(scaled.detach(), before_scaled * (3 / before_scaled.norm()) - 0.1 * alone(scaled.grad))


@pytest.mark.parametrize("nesterov", [False, True])
def test_what_is_not_orthogonalised_takes_torchs_sgd_steps(nesterov: bool) -> None:
    ours = weights_with_gradients((4,), (3, 5))
    theirs = copy.deepcopy(ours)
    muon = optimizer(ours, orthogonalized=False, weight_decay=0.3, nesterov=nesterov)
    sgd = torch.optim.SGD(theirs, lr=0.1, momentum=0.6, weight_decay=0.3, nesterov=nesterov)
    for _ in range(4):
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape)
            other.grad = mine.grad.clone()
        muon.step()
        sgd.step()
    torch.testing.assert_close([w.detach() for w in ours], [w.detach() for w in theirs])


def small_network() -> nn.Sequential:
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.add_module("fc", nn.Linear(6, 2))
    return network


def test_convolutions_are_orthogonalised_and_nothing_else() -> None:
    network = small_network()
    settings = Optimizer("muon", lr=0.2, momentum=0.6, other_lr_factor=0.5, other_momentum=0.8, head_lr_factor=3.0)
    first, *others = build_optimizer(network, settings).param_groups
    assert first["params"] == [network[0].weight]
    assert (first["orthogonalized"], first["momentum"], first["lr"]) == (True, 0.6, 0.2)
    assert sum(len(group["params"]) for group in others) == 5  # its bias, norm's two, head's two
    assert {(group["orthogonalized"], group["momentum"]) for group in others} == {(False, 0.8)}
    assert sorted(group["lr"] for group in others) == pytest.approx([0.1, 0.3])
    assert sorted(group["lr"] * group["weight_decay"] for group in others) == pytest.approx(2 * [0.2 * 5e-4])


def test_parameters_without_a_gradient_stay() -> None:
    network = small_network()
    muon = build_optimizer(network, Optimizer("muon", lr=0.2))
    before = copy.deepcopy(network.state_dict())
    muon.step()
    network[0].weight.grad = torch.ones_like(network[0].weight)  # type: ignore[arg-type]
    muon.step()
    changed = [name for name, value in network.state_dict().items() if not torch.equal(value, before[name])]
    assert changed == ["0.weight"]


def test_a_saved_optimizer_continues_bit_for_bit(tmp_path: Any) -> None:
    network = small_network().to(memory_format=torch.channels_last)
    settings = Optimizer("muon", lr=0.05, nesterov=True, renormalize_filters=True)
    images, labels = torch.randn(16, 3, 8, 8), torch.randint(2, (16,))

    def train(network: nn.Module, muon: torch.optim.Optimizer) -> None:
        for _ in range(3):
            muon.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
            muon.step()

    muon = build_optimizer(network, settings)
    train(network, muon)
    checkpoint.save(tmp_path / "state.pt", {"network": network.state_dict(), "muon": muon.state_dict()})
    train(network, muon)
    state = checkpoint.load(tmp_path / "state.pt")
    resumed = small_network().to(memory_format=torch.channels_last)
    resumed.load_state_dict(state["network"])
    again = build_optimizer(resumed, settings)
    again.load_state_dict(state["muon"])
    train(resumed, again)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), resumed.parameters(), strict=True))


@given(st.integers(2, 48), st.integers(2, 200), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_bfloat16_suffices(rows: int, columns: int, seed: int) -> None:
    matrices = torch.randn(2, rows, columns, generator=seeded(seed))
    rough, exact = orthogonalized(matrices, torch.bfloat16), orthogonalized(matrices)
    assert rough.dtype == torch.float32
    assert torch.linalg.matrix_norm(rough - exact).max() < 0.1 * torch.linalg.matrix_norm(exact).max()


@pytest.mark.gpu
def test_cuda_takes_the_same_steps() -> None:
    (weight,) = weights_with_gradients((16, 8, 3, 3))
    on_gpu = nn.Parameter(weight.detach().cuda())
    assert weight.grad is not None
    on_gpu.grad = weight.grad.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        optimizer([on_gpu], renormalize=True).step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    optimizer([weight], renormalize=True).step()
    torch.testing.assert_close(on_gpu.detach().cpu(), weight.detach(), atol=0.01, rtol=0.02)
