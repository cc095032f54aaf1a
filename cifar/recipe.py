"""A recipe: every training setting of a network, without the network.

Durations (warm-up, peak, step) are in epochs *of this recipe's full length*; a run of another length stretches
them in proportion, so a recipe written for 60 epochs keeps its shape when a short trial runs 9. A recipe with early
stopping has no length of its own, its `epochs` are a bound: its schedule keeps its own epochs in any run.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from cifar.config import SINCE_0_2, require
from cifar.errors import ConfigError
from cifar.recipe_augmentation import Augmentation
from cifar.recipe_optimizer import Optimizer, OptimizerName

__all__ = [
    "RECIPES_FOLDER",
    "Augmentation",
    "Monitor",
    "Optimizer",
    "OptimizerName",
    "Recipe",
    "Schedule",
    "ScheduleName",
    "Statistics",
    "read_toml",
    "recipe_names",
]

ScheduleName = Literal["constant", "cosine", "one_cycle", "step"]
CooldownShape = Literal["linear", "sqrt"]
Statistics = Literal["computed", "cifar10", "imagenet", "half"]
Monitor = Literal["val_loss", "val_accuracy"]


@dataclass(frozen=True)
class Schedule:
    """How the learning rate moves over a run; see `cifar.optim.lr_factor`."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: ScheduleName = "cosine"
    """constant; cosine to `final_factor`; one_cycle: linear to the peak and down; step: times `gamma` repeatedly."""
    warmup_epochs: float = 0.0
    """Linear warm-up from near 0, in epochs; for one_cycle the epoch of the peak."""
    start_factor: float = 0.0
    """Learning rate at the first step of warm-up, as a fraction of the peak; at 0 that step has half the rate of the
    next."""
    final_factor: float = 0.0
    """Learning rate at the end, as a fraction of the peak (cosine and one_cycle)."""
    step_epochs: float = 10.0
    """Epochs between two drops (step only)."""
    gamma: float = 0.5
    """Factor of one drop (step only)."""
    cooldown_epochs: float = field(default=0.0, metadata=SINCE_0_2)
    """Epochs at the end over which the rate of any schedule falls to 0; 0 is off.

    constant with a warm-up and this is the schedule warm-up, stable, decay ("wsd", arXiv 2405.18392)."""
    cooldown_shape: CooldownShape = field(default="linear", metadata=SINCE_0_2)
    """How it falls over the share x of these epochs: by 1 - x (linear), or 1 - sqrt(x) (arXiv 2405.18392)."""

    def __post_init__(self) -> None:
        for name in ("start_factor", "final_factor"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"schedule.{name} must be in [0, 1]", value, "Give a fraction of the peak")
        require(self.warmup_epochs >= 0, "schedule.warmup_epochs must be 0 or more", self.warmup_epochs, "Try 5")
        require(self.cooldown_epochs >= 0, "schedule.cooldown_epochs must be 0 or more", self.cooldown_epochs, "Try 10")
        require(self.step_epochs > 0, "schedule.step_epochs must be positive", self.step_epochs, "Try 10")
        require(0 < self.gamma <= 1, "schedule.gamma must be in (0, 1]", self.gamma, "Try 0.5")


@dataclass(frozen=True)
class Recipe:
    """Every training setting of a network, without the network."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    epochs: float = 60.0
    """Full length, in passes over the training set; a fraction ends inside the last pass."""
    batch_size: int = 128
    """Images a step."""
    optimizer: Optimizer = field(default_factory=Optimizer)
    """Optimizer and its settings."""
    schedule: Schedule = field(default_factory=Schedule)
    """Learning rate over the run."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """Training-time augmentation."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over all classes (arXiv 1512.00567)."""
    ema_decay: float = 0.0
    """Decay a step of the exponential moving average of weights that is evaluated instead of them; 0 is off."""
    lookahead_steps: int = field(default=0, metadata=SINCE_0_2)
    """Steps between two looks back of Lookahead (`cifar.lookahead`; k of arXiv 1907.08610); 5 is usual, 0 is off."""
    lookahead_decay: float = field(default=0.95, metadata=SINCE_0_2)
    """Decay a step of Lookahead's slow weights at the end of the run (airbench94: `decay_base`)."""
    resolution_start: float = field(default=1.0, metadata=SINCE_0_2)
    """Side of the training images at first, as a fraction of the full side; 1 is off (`cifar.resizing`)."""
    full_resolution_after: float = field(default=0.5, metadata=SINCE_0_2)
    """Share of the run after which training images have their full size."""
    statistics: Statistics = "computed"
    """Normalisation: computed (from the training split), cifar10, imagenet, or half (mean and std 0.5)."""
    val_size: int = 5000
    """Images of the training set kept for validation, stratified by class; 0 trains on all of it."""
    early_stopping: int = 0
    """Stop after this many epochs without a better `monitor`; 0 is off."""
    monitor: Monitor = "val_accuracy"
    """What early stopping and `keep = "best"` watch."""
    keep: Literal["last", "best"] = "last"
    """Weights of the last epoch, or of the best epoch by `monitor`."""

    def __post_init__(self) -> None:
        require(self.epochs > 0, "epochs must be positive", self.epochs, "60 is a full run")
        require(self.batch_size >= 2, "batch_size must be 2 or more (batch norm)", self.batch_size, "128 is usual")
        require(
            0 <= self.label_smoothing < 1,
            "label_smoothing must be in [0, 1)",
            self.label_smoothing,
            "Try 0.05",
        )
        require(0 <= self.ema_decay < 1, "ema_decay must be in [0, 1)", self.ema_decay, "0.999 is usual")
        require(self.lookahead_steps >= 0, "lookahead_steps must be 0 or more", self.lookahead_steps, "Try 5")
        require(0 <= self.lookahead_decay < 1, "lookahead_decay must be in [0, 1)", self.lookahead_decay, "Try 0.95")
        require(
            0 < self.resolution_start <= 1,
            "resolution_start must be in (0, 1]",
            self.resolution_start,
            "0.75 trains on 24 of 32 pixels at first",
        )
        require(
            0 <= self.full_resolution_after <= 1,
            "full_resolution_after must be in [0, 1]",
            self.full_resolution_after,
            "0.5 is half of the run",
        )
        require(self.val_size >= 0, "val_size must be 0 or more", self.val_size, "5000 is usual")
        require(self.early_stopping >= 0, "early_stopping must be 0 or more epochs", self.early_stopping, "Try 10")
        require(
            self.schedule.warmup_epochs <= self.epochs,
            "schedule.warmup_epochs must not exceed epochs",
            f"{self.schedule.warmup_epochs} of {self.epochs}",
            "Shorten the warm-up",
        )
        require(
            self.schedule.warmup_epochs + self.schedule.cooldown_epochs <= self.epochs,
            "schedule.warmup_epochs and cooldown_epochs must not exceed epochs together",
            f"{self.schedule.warmup_epochs} and {self.schedule.cooldown_epochs} of {self.epochs}",
            "Shorten one of them",
        )
        require(
            self.val_size > 0 or (not self.early_stopping and self.keep == "last"),
            "early_stopping and keep = 'best' need validation images",
            f"val_size {self.val_size}",
            "Set val_size, or early_stopping = 0 and keep = 'last'",
        )


RECIPES_FOLDER = Path(__file__).parent / "recipes"


def recipe_names() -> list[str]:
    """Names of the built-in recipe files."""
    return sorted(path.stem for path in RECIPES_FOLDER.glob("*.toml"))


def read_toml(path: Path) -> dict[str, object]:
    """The tables of a TOML file.

    Raises:
        ConfigError: no such file, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ConfigError("a TOML file must be a file that exists", got=path, remedy="Check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} must be valid TOML", got=str(error), remedy="Mend that line") from None
