"""The optimizer of a recipe and its settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from cifar.config import SINCE_0_2, require
from cifar.errors import ConfigError

OptimizerName = Literal["sgd", "adamw", "adam", "rmsprop", "muon"]

MUONS_OWN = (1.0, 0.85, False)  # defaults of the settings that only muon has


@dataclass(frozen=True)
class Optimizer:
    """The optimizer and its settings."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: OptimizerName = "sgd"
    """sgd (with momentum), adamw (arXiv 1711.05101), adam (arXiv 1412.6980), rmsprop, or muon (`cifar.muon`)."""
    lr: float | Literal["range_test"] = 0.1
    """Peak learning rate, for the recipe's own batch size; "range_test" finds it before training (`cifar.lr_range`)."""
    weight_decay: float = 5e-4
    """L2 penalty added to the gradient; for adamw, and for what muon orthogonalises, decoupled and times the rate."""
    momentum: float = 0.9
    """Momentum of sgd, rmsprop and muon; beta1 of adam and adamw."""
    nesterov: bool = False
    """Nesterov momentum; sgd and muon only."""
    beta2: float = 0.999
    """beta2 of adam and adamw; smoothing constant of rmsprop."""
    decay_norm_and_bias: bool = True
    """Whether weight decay also applies to batch-norm parameters and biases (PyTorch's default)."""
    backbone_lr_factor: float = 1.0
    """Learning rate of all but the last linear layer as a fraction of that layer's; for pretrained networks."""
    head_lr_factor: float = field(default=1.0, metadata=SINCE_0_2)
    """Learning rate of the last linear layer as a multiple of what it would be; its decay a step stays the same.

    13 in airbench94_muon: 0.67 beside 0.053."""
    bias_lr_factor: float = field(default=1.0, metadata=SINCE_0_2)
    """Learning rate of norm layers' biases as a multiple of what it would be; their decay a step stays the same.

    64 in airbench94 (`bias_scaler`); 1 in airbench94_muon."""
    other_lr_factor: float = field(default=1.0, metadata=SINCE_0_2)
    """muon only: learning rate of what is not orthogonalised (all but convolution weights) as a multiple of `lr`.

    0.22 in airbench94_muon: 0.053 beside 0.24."""
    other_momentum: float = field(default=0.85, metadata=SINCE_0_2)
    """muon only: momentum of what is not orthogonalised; 0.85 in airbench94_muon, beside 0.6 for the rest."""
    renormalize_filters: bool = field(default=False, metadata=SINCE_0_2)
    """muon only: before each step, every convolution's weight is scaled to the norm sqrt(output channels).

    As in airbench94_muon. A batch norm that follows hides the scale; without one the network changes."""

    @property
    def peak_lr(self) -> float:
        """`lr` as a number.

        Raises:
            ConfigError: it has yet to be found by a range test.
        """
        if isinstance(self.lr, str):
            raise ConfigError(
                "training needs optimizer.lr as a number",
                got=repr(self.lr),
                remedy="Use python -m search.retrain, which runs the range test first, or give a number",
            )
        return self.lr

    def __post_init__(self) -> None:
        if not isinstance(self.lr, str):
            require(self.lr > 0, "optimizer.lr must be positive", self.lr, "0.1 suits sgd, 1e-3 adamw, 0.24 muon")
        require(
            0 < self.backbone_lr_factor <= 1,
            "optimizer.backbone_lr_factor must be in (0, 1]",
            self.backbone_lr_factor,
            "0.1 is usual; to freeze parts, list the others in network.trainable",
        )
        require(self.weight_decay >= 0, "optimizer.weight_decay must be 0 or more", self.weight_decay, "Try 5e-4")
        require(0 <= self.momentum < 1, "optimizer.momentum must be in [0, 1)", self.momentum, "0.9 is usual")
        require(0 <= self.beta2 < 1, "optimizer.beta2 must be in [0, 1)", self.beta2, "0.999 is usual")
        require(
            not self.nesterov or (self.name in ("sgd", "muon") and self.momentum > 0),
            "optimizer.nesterov needs sgd or muon with momentum above 0",
            f"{self.name}, momentum {self.momentum}",
            "Set nesterov = false",
        )
        for name in ("head_lr_factor", "bias_lr_factor", "other_lr_factor"):
            value = getattr(self, name)
            require(value > 0, f"optimizer.{name} must be positive", value, "1 leaves the rate as it is")
        require(
            0 <= self.other_momentum < 1,
            "optimizer.other_momentum must be in [0, 1)",
            self.other_momentum,
            "0.85 is usual",
        )
        require(
            self.name == "muon" or (self.other_lr_factor, self.other_momentum, self.renormalize_filters) == MUONS_OWN,
            "optimizer.other_lr_factor, other_momentum and renormalize_filters need muon",
            f"{self.name}, {self.other_lr_factor}, {self.other_momentum}, {self.renormalize_filters}",
            "Leave them out, or set name = 'muon'",
        )
