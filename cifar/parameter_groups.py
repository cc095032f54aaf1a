"""Groups of parameters that differ in learning rate, weight decay or the way they are optimized."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from torch import nn

from cifar.config import require
from cifar.recipe import Optimizer

HEAD = "fc"  # name of the last linear layer, in all built-in networks
CONVOLUTION_DIMS = 4  # of a weight: output channels, input channels, height, width
NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class _Kind:
    """What the parameters of a group have in common."""

    plain: bool
    """Whether muon does not orthogonalise them."""
    backbone: bool
    """Whether they have the backbone's rate."""
    spared: bool
    """Whether weight decay leaves them out."""
    factor: float
    """Multiple of the rate that leaves their decay a step as it is."""

    @property
    def order(self) -> tuple[bool, bool, bool, bool, float]:
        """Sorts groups; the first has the recipe's own rate, unless no parameter has."""
        return self.plain, self.backbone, self.spared, self.factor != 1, self.factor


def parameter_groups(network: nn.Module, settings: Optimizer) -> list[dict[str, Any]]:
    """Trainable parameters with their weight decay and, as `lr_factor`, their share of the learning rate.

    Those that differ in these are apart: what muon orthogonalises comes before the rest, the head before the backbone,
    matrices before vectors (norms, biases) if these are not decayed.
    """
    heads = {p for name, p in network.named_parameters() if name.startswith(f"{HEAD}.") and p.requires_grad}
    norm_biases = {module.bias for module in network.modules() if isinstance(module, NORMS)}
    _require_head(settings, heads)
    groups: dict[_Kind, list[nn.Parameter]] = defaultdict(list)
    for p in network.parameters():
        if p.requires_grad:
            groups[_kind(p, settings, head=p in heads, norm_bias=p in norm_biases)].append(p)
    return [_group(kind, groups[kind], settings) for kind in sorted(groups, key=lambda kind: kind.order)]


def _require_head(settings: Optimizer, heads: set[nn.Parameter]) -> None:
    for name in ("backbone_lr_factor", "head_lr_factor"):
        factor = getattr(settings, name)
        rule = f"optimizer.{name} needs a network whose last layer is named {HEAD}"
        require(bool(heads) or factor == 1, rule, factor, "Set it to 1")


def _kind(p: nn.Parameter, settings: Optimizer, *, head: bool, norm_bias: bool) -> _Kind:
    plain = settings.name != "muon" or p.ndim != CONVOLUTION_DIMS
    return _Kind(
        plain=plain,
        backbone=settings.backbone_lr_factor != 1 and not head,
        spared=not settings.decay_norm_and_bias and p.ndim <= 1,
        factor=(settings.other_lr_factor if plain else 1.0)
        * (settings.head_lr_factor if head else 1.0)
        * (settings.bias_lr_factor if norm_bias else 1.0),
    )


def _group(kind: _Kind, parameters: list[nn.Parameter], settings: Optimizer) -> dict[str, Any]:
    factor = kind.factor * (settings.backbone_lr_factor if kind.backbone else 1.0)
    group = {
        "params": parameters,
        "weight_decay": 0.0 if kind.spared else settings.weight_decay / kind.factor,
        "lr_factor": factor,
        "lr": settings.peak_lr * factor,
    }
    if settings.name == "muon":
        group["orthogonalized"] = not kind.plain
        group["momentum"] = settings.other_momentum if kind.plain else settings.momentum
    return group
