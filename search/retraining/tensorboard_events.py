"""A run's curves as a TensorBoard event file; the package tensorboard is needed only here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cifar.train import EpochResult
from search.settings import StudyError

TAGS = {
    "train_loss": "loss/train",
    "val_loss": "loss/validation",
    "train_accuracy": "accuracy/train",
    "val_accuracy": "accuracy/validation",
    "lr": "learning_rate",
    "seconds": "seconds_an_epoch",
}
"""Tags of the event file, by field of an epoch's result; steps are epochs."""
PATTERN = "events.out.tfevents.*"


def require_tensorboard() -> None:
    """Checks that the package is there, before any training.

    Raises:
        StudyError: it is not.
    """
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise StudyError(
            "--tensorboard needs the package tensorboard",
            got=str(error),
            remedy="Run pip install tensorboard, or leave --tensorboard out",
        ) from None


class EventFile:
    """The one event file of a folder; closed by `with`.

    Event files of earlier attempts are removed first, and a run that is continued writes its history again. So the
    file always holds the whole run and no epoch twice.

    Args:
        folder: for TensorBoard's `--logdir`, made if missing; None writes nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._writer: Any = None
        if folder is None:
            return
        from torch.utils.tensorboard import SummaryWriter

        for old in folder.glob(PATTERN):
            old.unlink()
        self._writer = SummaryWriter(str(folder))

    def add_epoch(self, epoch: EpochResult) -> None:
        """Adds an epoch of a run's history; what it lacks is left out."""
        if self._writer is None:
            return
        for field, tag in TAGS.items():
            value = getattr(epoch, field)
            if value is not None:
                self._writer.add_scalar(tag, value, epoch.epoch)
        self._writer.flush()

    def add_history(self, history: Iterable[EpochResult]) -> None:
        """Adds epochs trained earlier."""
        for epoch in history:
            self.add_epoch(epoch)

    def add_test(self, accuracies: Mapping[str, float], epoch: int) -> None:
        """Adds accuracies in [0, 1] after the last epoch, by name, such as `test`."""
        if self._writer is not None:
            for name, accuracy in accuracies.items():
                self._writer.add_scalar(f"accuracy/{name}", accuracy, epoch)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()
