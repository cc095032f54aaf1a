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

from cifar.config import require
from cifar.errors import ConfigError

OptimizerName = Literal["sgd", "adamw", "adam", "rmsprop"]
ScheduleName = Literal["constant", "cosine", "one_cycle", "step"]
Statistics = Literal["computed", "cifar10", "imagenet", "half"]
Monitor = Literal["val_loss", "val_accuracy"]


@dataclass(frozen=True)
class Optimizer:
    """The optimizer and its settings."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: OptimizerName = "sgd"
    """sgd (with momentum), adamw (arXiv 1711.05101), adam (arXiv 1412.6980) or rmsprop."""
    lr: float | Literal["range_test"] = 0.1
    """Peak learning rate, for the recipe's own batch size; "range_test" finds it before training (`cifar.lr_range`)."""
    weight_decay: float = 5e-4
    """L2 penalty added to the gradient; for adamw decoupled and multiplied by the learning rate."""
    momentum: float = 0.9
    """Momentum of sgd and rmsprop; beta1 of adam and adamw."""
    nesterov: bool = False
    """Nesterov momentum; sgd only."""
    beta2: float = 0.999
    """beta2 of adam and adamw; smoothing constant of rmsprop."""
    decay_norm_and_bias: bool = True
    """Whether weight decay also applies to batch-norm parameters and biases (PyTorch's default)."""
    backbone_lr_factor: float = 1.0
    """Learning rate of all but the last linear layer as a fraction of that layer's; for pretrained networks."""

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
            require(self.lr > 0, "optimizer.lr must be positive", self.lr, "0.1 suits sgd, 1e-3 adamw")
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
            not self.nesterov or (self.name == "sgd" and self.momentum > 0),
            "optimizer.nesterov needs sgd with momentum above 0",
            f"{self.name}, momentum {self.momentum}",
            "Set nesterov = false",
        )


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

    def __post_init__(self) -> None:
        for name in ("start_factor", "final_factor"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"schedule.{name} must be in [0, 1]", value, "Give a fraction of the peak")
        require(self.warmup_epochs >= 0, "schedule.warmup_epochs must be 0 or more", self.warmup_epochs, "Try 5")
        require(self.step_epochs > 0, "schedule.step_epochs must be positive", self.step_epochs, "Try 10")
        require(0 < self.gamma <= 1, "schedule.gamma must be in (0, 1]", self.gamma, "Try 0.5")


@dataclass(frozen=True)
class Augmentation:
    """Training-time augmentation, applied in the order of these fields; choices are drawn for each image alone."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    flip: bool = True
    """Mirror left-right with probability 1/2."""
    crop_padding: int = 4
    """Random crop of the image's own size after this many zero pixels on each side; 0 is off."""
    brightness: float = 0.0
    """Colour jitter: factor uniform in [1 - x, 1 + x]; likewise contrast and saturation. 0 is off."""
    contrast: float = 0.0
    """See brightness."""
    saturation: float = 0.0
    """See brightness."""
    rotation: float = 0.0
    """Rotation uniform in [-x, x] degrees, nearest pixel, zero fill; 0 is off."""
    randaugment_ops: int = 0
    """Operations an image by RandAugment (arXiv 1909.13719); 0 is off."""
    randaugment_magnitude: int = 9
    """RandAugment's magnitude, 0 to 30 as in torchvision's 31 bins."""
    trivial_augment: bool = False
    """One operation an image at a random strength: TrivialAugmentWide (arXiv 2103.10158)."""
    erasing: float = 0.0
    """Probability of erasing a rectangle to black (arXiv 1708.04896), before normalisation; 0 is off."""
    erasing_area: tuple[float, float] = (0.02, 0.33)
    """Least and greatest area of the erased rectangle, as a fraction of the image."""
    erasing_ratio: tuple[float, float] = (0.3, 3.3)
    """Least and greatest height/width ratio of the erased rectangle."""
    cutout: int = 0
    """Side in pixels of a square set to the training mean (arXiv 1708.04552), clipped at the border; 0 is off."""
    mixup: float = 0.0
    """Alpha of mixup (arXiv 1710.09412), a pair an image; 0 is off. With cutmix on too, a batch takes one of both."""
    cutmix: float = 0.0
    """Alpha of CutMix (arXiv 1905.04899); 0 is off."""

    def __post_init__(self) -> None:
        for name in ("crop_padding", "randaugment_ops", "cutout"):
            value = getattr(self, name)
            require(value >= 0, f"augmentation.{name} must be 0 or more", value, "0 switches it off")
        for name in ("brightness", "contrast", "saturation", "erasing"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"augmentation.{name} must be in [0, 1]", value, "0 switches it off")
        require(
            0 <= self.rotation <= 180,
            "augmentation.rotation must be in [0, 180] degrees",
            self.rotation,
            "Try 15",
        )
        require(
            0 <= self.randaugment_magnitude <= 30,
            "augmentation.randaugment_magnitude must be in 0..30",
            self.randaugment_magnitude,
            "9 is usual",
        )
        for name in ("mixup", "cutmix"):
            value = getattr(self, name)
            require(value >= 0, f"augmentation.{name} must be 0 or more", value, "0 switches it off")
        for name, upper in (("erasing_area", 1.0), ("erasing_ratio", float("inf"))):
            low, high = getattr(self, name)
            require(
                0 < low <= high <= upper,
                f"augmentation.{name} must be two positive numbers, least first",
                (low, high),
                "Keep the default",
            )


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
        require(self.val_size >= 0, "val_size must be 0 or more", self.val_size, "5000 is usual")
        require(self.early_stopping >= 0, "early_stopping must be 0 or more epochs", self.early_stopping, "Try 10")
        require(
            self.schedule.warmup_epochs <= self.epochs,
            "schedule.warmup_epochs must not exceed epochs",
            f"{self.schedule.warmup_epochs} of {self.epochs}",
            "Shorten the warm-up",
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
    except FileNotFoundError:
        raise ConfigError("a recipe must be a file that exists", got=path, remedy="Check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} must be valid TOML", got=str(error), remedy="Mend that line") from None
