"""What a search space must offer; subclass `SearchSpace`, write `suggest`, and `python -m search.run` searches it.

By default a candidate is a `cifar.candidate.Candidate`, trained on images by `train_on_images`. A space that
overrides `train` can search anything that yields one value an epoch: a trainer of your own, or recorded learning
curves. Its candidates are then any `Proposal`; `OwnCandidate` makes one from a method `to_dict`.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from optuna.trial import BaseTrial

from cifar.candidate import Candidate
from cifar.data.splits import TrainingSplit
from cifar.errors import UserError
from cifar.networks.complexity import Cost
from cifar.runtime.device import Device

if TYPE_CHECKING:
    from cifar.train import Training


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
    """Epochs that the trial may go up to."""
    seed: int
    """Seed of everything random in the trial."""
    device: Device
    """Where to train."""
    split: TrainingSplit | None
    """Training and validation images on `device`, never test images; None for a space that `uses_images = False`."""
    epochs_done: int = 0
    """Epochs that earlier trial jobs trained; a space that `can_resume` reports the next one first."""
    checkpoint: Path | None = None
    """File that `EpochReport.save` wrote after those epochs, to resume from."""
    job_end: int | None = None
    """Epochs after which this trial job pauses or is complete; None is `fidelity`."""
    schedule_ends: Sequence[int] = ()
    """Epochs, rising, at which schedules come to their end: a trial that goes on has its schedule stretched up to the
    next one (see `cifar.recipe`). After the last, and where there is none, it is `fidelity`."""

    def schedule_end(self, epochs: int) -> int:
        """Epochs over which the schedule stretches once so many are done."""
        return next((end for end in self.schedule_ends if end > epochs), self.fidelity)


@dataclass(frozen=True)
class EpochReport:
    """What a trial reports after an epoch."""

    epoch: int
    """Epochs done, from 1."""
    value: float
    """The objective, such as validation accuracy in [0, 1]."""
    details: Mapping[str, float] = field(default_factory=dict)
    """More figures of the epoch, such as train_loss and images; for displays and records."""
    save: Callable[[Path], None] | None = None
    """Writes the training's state after this epoch; called before the next epoch, or never. None saves nothing."""
    right: Sequence[bool] | None = None
    """Which validation images were right, in an order that all trials share, if the value is their share: leads are
    then compared image by image. Only a full trial's last epoch needs it."""


@dataclass(frozen=True)
class WarmStart:
    """A known good point, tried before the sampler proposes its own."""

    name: str
    """A name for a person, such as the recipe's."""
    params: Mapping[str, Any]
    """Optuna parameters, as `suggest` names them."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """User attributes that the trial starts with; `suggest` may read them."""


@dataclass(frozen=True)
class Prior:
    """Where good candidates are expected: around a point. Proposals are drawn there until the evidence speaks."""

    point: Mapping[str, Any]
    """Optuna parameters, as `suggest` names them; one that is missing is drawn as if there were no prior."""
    spread: Mapping[str, float] = field(default_factory=dict)
    """How far a parameter may lie from the point, by name: of a number the standard deviation as a share of its range
    (its logarithm's, if it is searched on that scale); of a choice the probability of another one. 0 keeps the
    point's value."""
    other_spread: float = 0.1
    """The spread of parameters that `spread` does not name."""

    def spread_of(self, name: str) -> float:
        """The spread of a parameter."""
        return self.spread.get(name, self.other_spread)


@runtime_checkable
class Proposal(Protocol):
    """What `suggest` returns: a `cifar.candidate.Candidate`, an `OwnCandidate`, or any object with these three."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; equal for equal candidates."""

    @property
    def cost(self) -> Cost | None:
        """What limits are checked against; None where there is nothing to check."""

    @property
    def summary(self) -> str:
        """The candidate in a few words, for displays."""


class OwnCandidate(ABC):
    """Base class of candidates for a space with a `train` of its own: `to_dict` must be written."""

    cost: Cost | None = None
    """Parameters and multiply-accumulates, which the limits are checked against; None is not checked."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """The JSON form; equal for equal candidates."""

    @property
    def summary(self) -> str:
        """The class's name with the fields of the JSON form, such as `Row(index=3)`."""
        fields = ", ".join(f"{key}={_short(value)}" for key, value in self.to_dict().items())
        return f"{type(self).__name__}({fields})"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class SearchSpace(ABC):
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
    """Most multiply-accumulates an image; a proposal above it is infeasible and never trained."""
    resumable: bool | None = None
    """Whether `train` resumes after `context.epochs_done`; None is yes for the default `train`, no for one of your own.
    Where it does not, a promoted trial is trained again from the start."""
    added: Mapping[str, Any] = MappingProxyType({})
    """Parameters that the space gained after studies were made with it, with the values that stand for their absence:
    a stored trial without them has these."""

    @abstractmethod
    def suggest(self, trial: BaseTrial) -> Proposal:
        """The candidate that the trial's parameters stand for; the default `train` needs a `cifar` candidate."""

    def train(self, candidate: Any, context: TrialContext) -> Iterator[EpochReport]:
        """Trains what `suggest` returned, one report an epoch, up to `context.fidelity`; may be abandoned after any.

        Raises:
            cifar.errors.Diverged: the loss became NaN or infinite.
        """
        return train_on_images(candidate, context)

    def warm_starts(self) -> list[WarmStart]:
        """Known good points within the limits."""
        return []

    def prior(self, passes: float) -> Prior | None:
        """Where good candidates are expected; None where nothing is known.

        Args:
            passes: length of a full trial in passes over the training images; in epochs for a space without images.
        """
        return None


def propose(space: SearchSpace, trial: BaseTrial) -> Proposal:
    """What the space suggests for the trial, checked to be a `Proposal`.

    Raises:
        SpaceError: it lacks a part of one.
    """
    candidate: object = space.suggest(trial)
    if not isinstance(candidate, Proposal):
        raise SpaceError(
            "suggest must return a candidate with to_dict(), cost and summary",
            got=type(candidate).__name__,
            remedy="Return a cifar.candidate.Candidate, or subclass spaces.base.OwnCandidate",
        )
    return candidate


def can_resume(space: SearchSpace) -> bool:
    """Whether the space's `train` resumes where an earlier job of the trial paused."""
    return type(space).train is SearchSpace.train if space.resumable is None else space.resumable


def train_on_images(candidate: Candidate, context: TrialContext) -> Iterator[EpochReport]:
    """The default training: `cifar.train` on the context's images; the value is validation accuracy in [0, 1]."""
    from cifar import checkpoint
    from cifar.train import Training

    assert context.split is not None
    fresh = context.checkpoint is None
    training = Training(
        candidate,
        context.split,
        device=context.device,
        epochs=context.schedule_end(context.epochs_done),
        seed=context.seed,
        load_pretrained=fresh,
    )
    if context.checkpoint is not None:
        training.load_state_dict(checkpoint.load(context.checkpoint, context.device.torch_device))
        training.set_length(context.schedule_end(context.epochs_done))

    def save(path: Path) -> None:
        checkpoint.save(path, training.state_dict())

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
        right = training.val_right if result.epoch == context.fidelity else None
        yield EpochReport(result.epoch, result.val_accuracy, details, save, None if right is None else right.tolist())
        training.set_length(context.schedule_end(result.epoch))
        if result.epoch == context.epochs_done + 1:
            _compile_if_worth(training, result.seconds * ((context.job_end or context.fidelity) - result.epoch))


def _compile_if_worth(training: Training, seconds_left: float) -> None:
    """Makes the rest of a trial job quicker where that pays, once its first epoch has shown how long it is."""
    result = training.compile_if_worth(seconds_left)
    if result is not None and result.quicker is None:
        warnings.warn(f"a trial trains on as it is: {result.told}", stacklevel=1)
