"""What a search space must offer; subclass `SearchSpace`, write `suggest`, and `python -m search.run` searches it.

By default a candidate is a `cifar.candidate.Candidate`, trained on images by `train_on_images`. A space that
overrides `train` can search anything that yields one value an epoch: an own trainer, or a recorded learning curve.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from optuna.trial import BaseTrial

from cifar.candidate import Candidate
from cifar.data import TrainingSplit
from cifar.device import Device
from cifar.errors import Diverged, UserError


class SpaceError(UserError):
    """A space is unknown, cannot be loaded, or lacks a part of `SearchSpace`."""


@dataclass(frozen=True)
class Problem:
    """What a space is made for."""

    num_classes: int = 10
    """Classes of the data."""
    image_size: int = 32
    """Height and width of the images in pixels."""
    param_budget: int | None = None
    """Most parameters a network may have; None leaves the space's own limit."""
    mac_budget: int | None = None
    """Most multiply-accumulates an image; None is no limit."""


@dataclass(frozen=True)
class TrialContext:
    """What a trial may use."""

    fidelity: int
    """Epochs that the trial may go up to; schedules stretch over all of them (see `cifar.recipe`)."""
    seed: int
    """Of everything random in the trial."""
    device: Device
    """Where to train."""
    split: TrainingSplit | None
    """Training and validation images, never test images; None for a space that `uses_images = False`."""


@dataclass(frozen=True)
class EpochReport:
    """What a trial reports after an epoch."""

    epoch: int
    """Epochs done, from 1."""
    value: float
    """The objective, such as validation accuracy in [0, 1]."""
    details: Mapping[str, float] = field(default_factory=dict)
    """More figures of the epoch, such as train_loss and images; for displays and records."""


@dataclass(frozen=True)
class WarmStart:
    """A known good point, tried before the sampler proposes its own."""

    name: str
    """Such as the recipe's name."""
    params: Mapping[str, Any]
    """Optuna parameters, as `suggest` names them."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """User attributes that the trial starts with; `suggest` may read them."""


class SearchSpace(Protocol):
    """What may be tried, and how a candidate is trained. `suggest` must be written; the rest has defaults."""

    direction: Literal["maximize", "minimize"] = "maximize"
    """Whether a larger or a smaller reported value is better."""
    uses_images: bool = True
    """Whether trials need the data set; a space with a trainer of its own may set it to False."""
    max_epochs: int | None = None
    """Most epochs that `train` can give, such as the length of a recorded curve; None is no bound."""
    param_budget: int | None = None
    """Most parameters a network may have; a proposal above it is infeasible and never trained."""
    mac_budget: int | None = None
    """Most multiply-accumulates an image; likewise."""

    def suggest(self, trial: BaseTrial) -> Any:
        """The candidate that the trial's parameters stand for.

        Returns:
            A `cifar.candidate.Candidate`, or, with an own `train`, any object with a method `to_dict` that gives its
            JSON form (and a `cost`, if limits shall be checked).
        """

    def train(self, candidate: Any, context: TrialContext) -> Iterator[EpochReport]:
        """Trains the candidate, one report an epoch, up to `context.fidelity`; may be abandoned after any.

        Raises:
            Diverged: the loss became NaN or infinite.
        """
        return train_on_images(candidate, context)

    def warm_starts(self) -> list[WarmStart]:
        """Known good points within the limits."""
        return []


def train_on_images(candidate: Candidate, context: TrialContext) -> Iterator[EpochReport]:
    """The default training: `cifar.train` on the context's images; the value is validation accuracy in [0, 1]."""
    from cifar.train import Training

    assert context.split is not None
    training = Training(candidate, context.split, device=context.device, epochs=context.fidelity, seed=context.seed)
    for result in training.run():
        if result.val_accuracy is None or result.val_loss is None:
            raise SpaceError("a search needs validation images", got="none", remedy="Raise --val-size")
        details = {
            "train_loss": result.train_loss,
            "train_accuracy": result.train_accuracy,
            "val_loss": result.val_loss,
            "lr": result.lr,
            "images": float(result.images),
            "seconds": result.seconds,
        }
        yield EpochReport(result.epoch, result.val_accuracy, details)


__all__ = [
    "Candidate",
    "Diverged",
    "EpochReport",
    "Problem",
    "SearchSpace",
    "SpaceError",
    "TrialContext",
    "WarmStart",
    "train_on_images",
]
