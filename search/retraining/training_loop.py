"""The epochs of a run: trained, saved and told one by one, so that a run that is killed can be continued."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from cifar import checkpoint
from cifar.errors import Diverged
from cifar.train import EpochResult, Training
from search.format import format_duration, format_percent
from search.retraining.run_length import refitted_epochs
from search.retraining.run_record import RunRecord
from search.retraining.settings import CompileChoice
from search.retraining.tensorboard_events import EventFile
from search.settings import StudyError

CHECKPOINT = "checkpoint.pt"
SAVE_SECONDS = 30.0
"""Least time between two checkpoints of a run; a killed run loses no more than this and an epoch."""

Say = Callable[[str], None]
Clock = Callable[[], float]
"""Seconds from some moment on."""


def train(
    training: Training,
    folder: Path,
    record: RunRecord,
    say: Say,
    events: EventFile,
    compile: CompileChoice,
    seconds: float | None = None,
    clock: Clock = time.monotonic,
) -> tuple[EpochResult, ...]:
    """Trains to the end, from the folder's checkpoint if there is one; the whole history.

    A checkpoint is written after the first epoch, after the last, and in between every `SAVE_SECONDS` at most.
    With `seconds`, which all the run's epochs may take, its length is fitted to them again after each epoch.

    Raises:
        StudyError: the loss diverged.
    """
    history = _continued(training, folder, say)
    events.add_history(history)
    if compile == "on":
        _compile(training, say)
    undecided = compile == "auto"
    saved, saved_at = training.epoch, -math.inf
    most = record.identity.settings.epochs or training.recipe.epochs
    ends_at = None if seconds is None else clock() + seconds - sum(epoch.seconds for epoch in history)
    try:
        for result in training.run():
            history.append(result)
            events.add_epoch(result)
            if ends_at is not None and training.epoch < training.total_epochs:
                training.set_length(refitted_epochs(training, history, ends_at - clock(), most))
            say(_progress(result, training.total_epochs, training.length))
            if clock() - saved_at >= SAVE_SECONDS:
                _save(training, history, folder)
                saved, saved_at = training.epoch, clock()
            if undecided:
                _compile(training, say, _seconds_left(result, training.length))
            undecided = False
    except Diverged as error:
        raise StudyError(
            "a run must not diverge", got=error, remedy="Lower the recipe's learning rate; see search.lr_range"
        ) from None
    if saved < training.epoch:
        _save(training, history, folder)
    return tuple(history)


def _continued(training: Training, folder: Path, say: Say) -> list[EpochResult]:
    """Puts the training where the folder's checkpoint left it, if there is one; the history so far."""
    if not (folder / CHECKPOINT).exists():
        return []
    saved = checkpoint.load(folder / CHECKPOINT, training.device.torch_device)
    training.load_state_dict(saved["training"])
    say(f"continuing after epoch {training.epoch} of {training.total_epochs}")
    return [EpochResult(**epoch) for epoch in saved["history"]]


def _save(training: Training, history: list[EpochResult], folder: Path) -> None:
    """Saves what the run needs to be continued."""
    state = {"training": training.state_dict(), "history": [asdict(epoch) for epoch in history]}
    checkpoint.save(folder / CHECKPOINT, state)


def _compile(training: Training, say: Say, seconds_left: float | None = None) -> None:
    """Compiles, where the seconds left are given as far as it pays, and says what came of it and how long it took."""
    started = time.monotonic()
    result = training.compile() if seconds_left is None else training.compile_if_worth(seconds_left)
    if result is not None:
        say(f"{result.told}, in {time.monotonic() - started:.0f} s")


def _seconds_left(result: EpochResult, passes: float) -> float:
    """Seconds that the rest of a run of so many passes takes at the speed of this epoch."""
    return result.seconds * max(0.0, passes - result.epoch)


def _progress(result: EpochResult, total: int, passes: float) -> str:
    """One line about an epoch."""
    accuracy = f"{format_percent(result.train_accuracy):>7}"
    parts = [f"epoch {result.epoch:>3}/{total}", f"train loss {result.train_loss:.3f}, accuracy {accuracy}"]
    if result.val_accuracy is not None:
        accuracy = f"{format_percent(result.val_accuracy):>7}"
        parts.append(f"validation loss {result.val_loss:.3f}, accuracy {accuracy}")
    parts.append(f"{result.seconds:.1f} s, {format_duration(_seconds_left(result, passes))} left")
    return "  ".join(parts)
