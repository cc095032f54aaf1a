"""Trials in TensorBoard: `tensorboard --logdir FOLDER` shows a curve a trial, and the hyperparameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from search.engine.events import TrialEnded, TrialOutcome, TrialStarted
from search.tracking.tracker import Setting, Tracker, load

METRIC = "final value"
"""Tag of the value with which a trial ended, in the table of hyperparameters."""


class TensorBoardTracker(Tracker):
    """Writes event files, those of trial 7 to `FOLDER/trial-7`.

    Args:
        folder: for TensorBoard's `--logdir`; one a study, such as `studies/<study>/tensorboard`.

    Raises:
        StudyError: the package tensorboard is missing.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._writer: Any = load("torch.utils.tensorboard", "tensorboard").SummaryWriter
        self._open: dict[int, tuple[Any, dict[str, Setting]]] = {}  # writer and hyperparameters by trial

    def begin(self, event: TrialStarted, settings: dict[str, Setting]) -> None:
        """Opens an event file; a promoted trial has several, which TensorBoard shows as one curve."""
        self._open[event.number] = (self._writer(str(self.folder / f"trial-{event.number}")), settings)

    def epoch(self, number: int, epoch: int, figures: dict[str, float]) -> None:
        """Adds a scalar a figure; steps are epochs."""
        writer, _ = self._open[number]
        for name, value in figures.items():
            writer.add_scalar(name, value, epoch)
        writer.flush()

    def knows(self, number: int) -> bool:
        """Whether the trial's event file is open."""
        return number in self._open

    def end(self, event: TrialEnded) -> None:
        """Closes the event file, after the hyperparameters and the last value of a trial that is over."""
        writer, settings = self._open.pop(event.number)
        if event.outcome is not TrialOutcome.PAUSED and event.value is not None:
            given = {name: value for name, value in settings.items() if value is not None}
            writer.add_hparams(given, {METRIC: event.value}, run_name=".")  # "." is the writer's own folder
        writer.close()

    def close(self) -> None:
        """Closes the event files of trials that were cut off."""
        for writer, _ in self._open.values():
            writer.close()
        self._open.clear()
