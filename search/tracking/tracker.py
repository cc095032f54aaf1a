"""What every tracker does: one run a trial, with its hyperparameters, a value an epoch, and how it ended."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from types import ModuleType
from typing import Self

from search.engine.events import EpochDone, Event, TrialEnded, TrialStarted
from search.settings import StudyError

Setting = str | int | float | bool | None
"""A hyperparameter, or a figure of the network."""


class Tracker(ABC):
    """A callback of `run_search`; closed by `with`.

    Trials that are not trained, because they break a limit or repeat another, have no run. A trial that an earlier call
    had begun is recorded from where it goes on.
    """

    def __call__(self, event: Event) -> None:
        """Records what happened."""
        if isinstance(event, TrialStarted):
            sizes: dict[str, Setting] = {"parameters": event.parameters, "macs": event.macs}
            self.begin(event, {**event.params, "candidate": event.summary, **sizes})
        elif isinstance(event, EpochDone):
            self.epoch(event.number, event.epoch, {"value": event.value, **event.details})
        elif isinstance(event, TrialEnded) and self.knows(event.number):
            self.end(event)

    @abstractmethod
    def begin(self, event: TrialStarted, settings: dict[str, Setting]) -> None:
        """Begins a trial's run, or goes on with it.

        Args:
            event: says which trial, and how far it has been trained.
            settings: the trial's hyperparameters and size, by name.
        """

    @abstractmethod
    def epoch(self, number: int, epoch: int, figures: dict[str, float]) -> None:
        """Records the figures of a trial's epoch, by name."""

    @abstractmethod
    def knows(self, number: int) -> bool:
        """Whether the trial has a run."""

    @abstractmethod
    def end(self, event: TrialEnded) -> None:
        """Records how a trial ended, or that it is paused."""

    @abstractmethod
    def close(self) -> None:
        """Ends what is still open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


def load(module: str, package: str) -> ModuleType:
    """The module of an optional package.

    Raises:
        StudyError: the package is missing.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise StudyError(
            f"this tracker needs the package {package}", got=error, remedy=f"Run pip install {package}"
        ) from None
