"""Muon: momentum whose matrices are orthogonalised before each step (https://github.com/KellerJordan/Muon).

A convolution's weight (out, in, kh, kw) counts as the matrix (out, in * kh * kw). Its momentum, with singular value
decomposition U S V^T, is replaced by about U V^T, so that every direction moves as far as the others. What is no
convolution weight (head, norms, biases) takes plain SGD steps in the same optimizer, as in airbench94_muon.py of
KellerJordan/cifar10-airbench, which trains CIFAR-10 to 94.01 % in 8 epochs with it.

`torch.optim.Muon` takes matrices only and works on them one by one. Here matrices of equal shape are worked on
together, so that a network of many small convolutions needs few large operations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from cifar.runtime.device import fast_precision

ITERATIONS = 5  # as KellerJordan/Muon and torch.optim.Muon; airbench94_muon takes 3
QUINTIC = (3.4445, -4.7750, 2.0315)  # coefficients of x, x^3 and x^5, steep at 0: KellerJordan/Muon
TINY = 1e-7


class Muon(torch.optim.Optimizer):
    """Muon for the groups with `orthogonalized`, SGD with weight decay as an L2 penalty for the others.

    Args:
        groups: each with `params`, `lr`, `weight_decay`, `momentum` and `orthogonalized`. In orthogonalised groups,
            whose parameters have two or more dimensions, weight decay is decoupled and times the rate.
        nesterov: whether the momentum is Nesterov's.
        renormalize: whether orthogonalised weights are scaled to the norm sqrt(rows) before each step, as in
            airbench94_muon.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, nesterov: bool, renormalize: bool) -> None:
        super().__init__(groups, {"nesterov": nesterov, "renormalize": renormalize})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step from the gradients at hand; parameters without one stay as they are."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                (self._orthogonal_step if group["orthogonalized"] else self._plain_step)(parameters, group)

    def _plain_step(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = _gradients(parameters)
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, parameters, alpha=group["weight_decay"]))
        directions = self._with_momentum(parameters, gradients, group)
        torch._foreach_add_(parameters, directions, alpha=-group["lr"])

    def _orthogonal_step(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        directions = self._with_momentum(parameters, _gradients(parameters), group)
        if group["renormalize"]:
            _scale_to_root_of_rows(parameters)
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, _orthogonalized_alike(directions), alpha=-group["lr"])

    def _with_momentum(self, parameters: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Directions of the step, after the momentum has taken in the gradients."""
        for p in parameters:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        momenta = [self.state[p]["momentum"] for p in parameters]
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, gradients)
        if not group["nesterov"]:
            return momenta
        return list(torch._foreach_add(gradients, momenta, alpha=group["momentum"]))


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]


def _scale_to_root_of_rows(weights: list[Tensor]) -> None:
    norms = torch._foreach_norm(weights)
    torch._foreach_mul_(weights, [len(w) ** 0.5 / n.clamp_min(TINY) for w, n in zip(weights, norms, strict=True)])


def _orthogonalized_alike(directions: list[Tensor]) -> list[Tensor]:
    """Each direction as a matrix, orthogonalised, in its own shape again; tall ones are longer by sqrt(rows / columns).

    The factor is that of `torch.optim.Muon` (its `adjust_lr_fn = "original"`).
    """
    by_shape: dict[torch.Size, list[int]] = defaultdict(list)
    matrices = [direction.flatten(1) for direction in directions]
    for index, matrix in enumerate(matrices):
        by_shape[matrix.shape].append(index)
    results = list(directions)
    for (rows, columns), indices in by_shape.items():
        alike = torch.stack([matrices[index] for index in indices])
        together = orthogonalized(alike, _precision(alike.device))
        together *= max(1.0, rows / columns) ** 0.5
        for index, matrix in zip(indices, together.unbind(), strict=True):
            results[index] = matrix.view(directions[index].shape)
    return results


def orthogonalized(matrices: Tensor, precision: torch.dtype = torch.float32) -> Tensor:
    """Matrices with the singular vectors of those given and singular values near 1, float32.

    A matrix is scaled so that its singular values are at most 1; then ITERATIONS times each of them, x, becomes
    a x + b x^3 + c x^5 (Newton-Schulz, by matrix products alone). Values above 0.01 end between 0.68 and 1.14; the
    spread does not harm training (KellerJordan/Muon).

    Args:
        matrices: (N, rows, columns), float32.
        precision: of the products; bfloat16 suffices.
    """
    a, b, c = QUINTIC
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices  # the products below are squares of the shorter side
    x = (x / torch.linalg.matrix_norm(x, keepdim=True).clamp_min(TINY)).to(precision)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).float()


def _precision(device: torch.device) -> torch.dtype:
    """bfloat16, stable here (KellerJordan/Muon), where the hardware is fast at it; otherwise float32."""
    return torch.bfloat16 if fast_precision(device) is torch.bfloat16 else torch.float32
