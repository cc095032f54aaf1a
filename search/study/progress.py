"""How far the time of `search.run --retrain` is used; kept in the study, so that a stop loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import optuna

from cifar.config import from_dict, to_dict
from search.format import format_duration
from search.planning.division import Division, divide
from search.settings import SearchSettings, StudyError
from search.study.attributes import PROGRESS


@dataclass(frozen=True)
class Progress:
    """The parts of a time budget and what they have used."""

    time_budget: float
    """Seconds for search, finals and final training together."""
    searched: float = 0.0
    """Seconds that the search has used, in all calls."""
    compared: float = 0.0
    """Seconds that the finals have used, in all calls."""
    winner: int | None = None
    """Number of the trial that is trained on all images; None before it is chosen."""
    training: float | None = None
    """Seconds given to the final training: what the others have left; None before it begins."""

    @property
    def division(self) -> Division:
        """The parts as they were planned."""
        return divide(self.time_budget)

    @property
    def search_left(self) -> float:
        """Seconds left to the search; 0 once the finals or the final training have begun."""
        if self.compared or self.winner is not None:
            return 0.0
        return max(0.0, self.division.search - self.searched)

    @property
    def finals_left(self) -> float:
        """Seconds left to the finals; 0 once the winner is chosen."""
        return 0.0 if self.winner is not None else max(0.0, self.division.finals - self.compared)

    @property
    def left(self) -> float:
        """Seconds of the whole that search and finals have not used."""
        return max(1.0, self.time_budget - self.searched - self.compared)


def progress_of(study: optuna.Study | None, settings: SearchSettings) -> Progress:
    """How far the study is with the time that the settings give; a study without a record begins.

    Raises:
        StudyError: another time was given once the final training had begun.
    """
    assert settings.time_budget is not None  # `SearchSettings` sees to it
    held = study.user_attrs.get(PROGRESS) if study is not None else None
    if study is None or held is None:
        return Progress(settings.time_budget)
    found = from_dict(Progress, held, where=f"progress of study {study.study_name}")
    if found.training is not None and found.time_budget != settings.time_budget:
        raise StudyError(
            f"the final training of study {study.study_name!r} continues with the --time-budget that it began with "
            f"({found.time_budget:g} s)",
            got=f"{settings.time_budget:g} s",
            remedy="Give the same time, or start another study with --study NAME",
        )
    return replace(found, time_budget=settings.time_budget)


def describe_progress(progress: Progress) -> list[str]:
    """How the time is divided, why, and what of it is used, for a person."""
    parts = progress.division
    search, finals, training = (format_duration(seconds) for seconds in (parts.search, parts.finals, parts.training))
    lines = [
        f"time        {format_duration(progress.time_budget)} in all: {search} to search, "
        + (f"{finals} to train the best ones longer, " if parts.finals else "")
        + f"{training} to train the winner on all images",
        "            so that a search which finds nothing costs little against training the default for the whole time",
    ]
    if progress.searched:
        used = f"{format_duration(progress.searched)} searching and {format_duration(progress.compared)} in the finals"
        lines.append(f"used        {used}, by earlier calls")
    return lines


def store_progress(study: optuna.Study, progress: Progress) -> None:
    """Keeps the progress in the study."""
    study.set_user_attr(PROGRESS, to_dict(progress))


def time_counter(
    study: optuna.Study, settings: SearchSettings, clock: Callable[[], float], started: float
) -> Callable[[], None]:
    """Stores, whenever it is called, how long the search has taken; nothing where no time is divided.

    Args:
        study: the study that is searched.
        settings: what the call was asked to do.
        clock: tells the time in seconds.
        started: time of the clock at which this call began.
    """
    if not settings.retrain:
        return lambda: None
    before = progress_of(study, settings)
    return lambda: store_progress(study, replace(before, searched=before.searched + clock() - started))
