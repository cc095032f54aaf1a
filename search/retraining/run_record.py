"""What is known of a run: its `run.json`, written when it begins and again when it is finished."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cifar.config import to_dict
from cifar.files import read_json, write_json
from cifar.networks.complexity import Cost
from cifar.recipe import Recipe
from cifar.train import EpochResult, monitored
from search.retraining.settings import RetrainSettings
from search.settings import StudyError

RUN = "run.json"


@dataclass(frozen=True)
class Identity:
    """What must be the same for a run to be continued."""

    candidate: str
    """Fingerprint of the candidate, adapted to the data and the settings."""
    data: str
    """Fingerprint of the data; empty if the run does not tell."""
    settings: RetrainSettings
    """Settings of the run; test-time augmentation changes only the report and is never set."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form: one flat object."""
        return {"candidate": self.candidate, "data": self.data, **to_dict(replace(self.settings, tta=False))}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Identity:
        """The identity that `data` describes; a setting that it lacks was left to the recipe.

        Raises:
            TypeError: a setting is unknown.
        """
        settings = {key: value for key, value in data.items() if key not in ("candidate", "data")}
        return cls(data.get("candidate", ""), data.get("data", ""), replace(RetrainSettings(**settings), tta=False))


@dataclass(frozen=True)
class RunRecord:
    """A run as `run.json` describes it."""

    title: str
    """Name of the run for people, such as `trial 7 of study toy`."""
    identity: Identity
    """What was asked for; the key in the file is `asked`."""
    epochs: float
    """Passes over the training images: as planned, and of a finished run as trained."""
    lr: float | None
    """Peak learning rate; None where the run does not tell, so that the recipe's own holds."""
    device: str
    """Hardware that the run began on."""
    source: str
    """Where the data came from."""
    train_images: int
    """Number of training images."""
    val_images: int
    """Number of validation images."""
    longer: float | None = None
    """Passes of the recipe's variant that is trained; None is the recipe as it is."""
    history: tuple[EpochResult, ...] = ()
    """Results of the epochs; empty until the run is finished, since the checkpoint holds them until then."""
    cost: Cost | None = None
    """Parameters and multiply-accumulates of the network; None until the run is finished."""
    ended: str | None = None
    """Local date and time when training ended, such as `2026-11-21 19:45`; None until then, and of older runs."""

    @property
    def finished(self) -> bool:
        """Whether the run was trained to its end, its model saved and evaluated."""
        return self.cost is not None

    @property
    def seconds(self) -> float:
        """Time of training, validation included."""
        return math.fsum(epoch.seconds for epoch in self.history)

    def val_accuracy(self, recipe: Recipe) -> float | None:
        """Validation accuracy of the weights that the recipe keeps; None without validation images."""
        if not self.val_images:
            return None
        found = self._kept_epoch(recipe).val_accuracy
        assert found is not None
        return round(found * self.val_images) / self.val_images  # a share of whole images, not of float32

    def _kept_epoch(self, recipe: Recipe) -> EpochResult:
        """The last epoch, or the best by the recipe's monitor: the first of equals, as in training."""
        if recipe.keep != "best":
            return self.history[-1]

        def value(epoch: EpochResult) -> float:
            assert epoch.val_loss is not None
            assert epoch.val_accuracy is not None
            return monitored(recipe.monitor, epoch.val_loss, epoch.val_accuracy)

        return max(self.history, key=value)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; `from_dict` reads it back."""
        began = {
            "title": self.title,
            "asked": self.identity.to_dict(),
            "epochs": self.epochs,
            "lr": self.lr,
            "device": self.device,
            "source": self.source,
            "train_images": self.train_images,
            "val_images": self.val_images,
            "history": [asdict(epoch) for epoch in self.history],
        }
        if self.longer is not None:  # as files of before this key
            began["longer"] = self.longer
        if self.ended is not None:
            began["ended"] = self.ended
        if self.cost is None:
            return began
        ended = {"finished": True, "parameters": self.cost.parameters, "macs": self.cost.macs, "seconds": self.seconds}
        return began | ended

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunRecord:
        """The record that `data` describes.

        Raises:
            KeyError: a key is missing.
            TypeError: a value is of the wrong form.
        """
        return cls(
            title=data["title"],
            identity=Identity.from_dict(data["asked"]),
            epochs=data["epochs"],
            lr=data.get("lr"),
            device=data["device"],
            source=data["source"],
            train_images=data["train_images"],
            val_images=data["val_images"],
            longer=data.get("longer"),
            history=tuple(EpochResult(**epoch) for epoch in data["history"]),
            cost=Cost(data["parameters"], data["macs"]) if data.get("finished") else None,
            ended=data.get("ended"),
        )

    @classmethod
    def read(cls, folder: Path) -> RunRecord:
        """The record of the run in `folder`.

        Raises:
            UserError: the folder holds no run, or its record is damaged.
        """
        data = read_json(folder / RUN)
        try:
            return cls.from_dict(data)
        except (KeyError, TypeError, AttributeError) as error:
            raise StudyError(
                f"{folder} must hold the files of a run, as they were written",
                got=f"{type(error).__name__}: {error} in {RUN}",
                remedy="Remove the folder and retrain the run",
            ) from None

    def write(self, folder: Path) -> None:
        """Writes the record into `folder`, whole or not at all."""
        write_json(folder / RUN, self.to_dict())
