"""Trials in Weights & Biases: a run a trial, in a group; `wandb sync` sends what was written offline."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from search.engine.events import TrialEnded, TrialOutcome, TrialStarted
from search.tracking.tracker import Setting, Tracker, load


@dataclass
class _Record:
    """What is known of a trial that is not over."""

    settings: dict[str, Setting]
    epochs: dict[int, dict[str, float]] = field(default_factory=dict)
    ended: TrialEnded | None = None


class WandbTracker(Tracker):
    """Writes a run once its trial is over, and those of paused trials when it is closed.

    So a trial is one run, however often it was paused and promoted.

    Args:
        project: name of the project.
        group: of the runs, such as the study's name.
        folder: where the folder `wandb` is made.
        mode: offline writes files only; online sends them to the server that wandb is set up for
            (https://docs.wandb.ai/support/difference_wandbinit_modes).

    Raises:
        StudyError: the package wandb is missing.
    """

    def __init__(
        self, project: str, group: str, folder: Path | str = ".", mode: Literal["offline", "online"] = "offline"
    ) -> None:
        self.project, self.group, self.folder, self.mode = project, group, Path(folder), mode
        self._wandb: Any = load("wandb", "wandb")
        self._held: dict[int, _Record] = {}

    def begin(self, event: TrialStarted, settings: dict[str, Setting]) -> None:
        """Remembers the trial."""
        self._held.setdefault(event.number, _Record(settings))

    def epoch(self, number: int, epoch: int, figures: dict[str, float]) -> None:
        """Remembers an epoch, in place of an earlier one of the same number."""
        self._held[number].epochs[epoch] = figures

    def knows(self, number: int) -> bool:
        """Whether the trial is remembered."""
        return number in self._held

    def end(self, event: TrialEnded) -> None:
        """Writes the run of a trial that is over."""
        self._held[event.number].ended = event
        if event.outcome is not TrialOutcome.PAUSED:
            self._write(event.number, self._held.pop(event.number))

    def _write(self, number: int, record: _Record) -> None:
        run = self._wandb.init(
            project=self.project,
            group=self.group,
            name=f"trial {number}",
            config=record.settings,
            mode=self.mode,
            dir=str(self.folder),
            reinit="create_new",
            settings=self._wandb.Settings(console="off", silent=True),
        )
        for epoch, figures in sorted(record.epochs.items()):
            run.log(figures, step=epoch)
        if record.ended is not None:
            run.summary.update({"outcome": record.ended.outcome.value, "reason": record.ended.reason})
        run.finish()

    def close(self) -> None:
        """Writes the runs of trials that are paused or were cut off."""
        for number, record in self._held.items():
            self._write(number, record)
        self._held.clear()
