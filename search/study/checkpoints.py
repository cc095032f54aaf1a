"""The checkpoints of a study's trials: a file for each trial and epoch, in a folder or cloud that the study names.

The file's name says what the trial's record says, so that the two cannot disagree: a checkpoint that the record does
not mention is never read.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar, cast

import optuna
from optuna.trial import TrialState

from cifar.files import read_json, write_json
from search.settings import SearchSettings, StudyError
from search.study.attributes import CHECKPOINT_FOLDER
from search.study.exclusion import exclusive
from search.study.remote import Place, RemotePath, StoreError, place_of, written_to
from search.study.trials import distinct, is_paused

P = TypeVar("P", bound=Place)

CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints in the study's, unless the settings name another."""
MARK = "study.json"
"""File in the folder of the checkpoints that tells whose it is."""


def checkpoint_of(folder: P, seed: int, epoch: int) -> P:
    """The file of a trial's state after so many epochs; named by its seed, which a trial that resumes it shares."""
    return cast(P, folder / checkpoint_names(seed, epoch)[0])


def checkpoint_names(seed: int, epoch: int) -> tuple[str, str]:
    """The file's name, and that which it had before names told the epoch."""
    return f"{seed:016x}-{epoch}.pt", f"{seed:016x}.pt"


def saved_checkpoint(folder: P, seed: int, epoch: int) -> P | None:
    """The trial's checkpoint of that epoch, if there is one."""
    files = (cast(P, folder / name) for name in checkpoint_names(seed, epoch))
    return next((path for path in files if path.exists()), None)


def remove_checkpoints(folder: Place, seed: int, before: int | None = None) -> None:
    """Removes a trial's checkpoints; those of epochs before the one that it resumes from, where that is given.

    Later ones are left then: a driver that slept removes what is behind its own epoch, and another, which took over the
    trial meanwhile, may be ahead of that. Those that a store keeps are left to search.clean.
    """
    with suppress(StoreError):
        kept = None if before is None else saved_checkpoint(folder, seed, before)
        for path in folder.glob(f"{seed:016x}*.pt"):
            epoch = path.name.removesuffix(".pt").partition("-")[2] or "0"
            if before is None or (path != kept and int(epoch) < before):
                path.unlink(missing_ok=True)


def checkpoint_folder(study: optuna.Study, folder: Path, named: Place | None = None) -> Place:
    """The folder of the study's checkpoints, as far as this machine sees it; else where it would be.

    Args:
        study: the study.
        folder: the study's folder.
        named: the folder that the settings name instead.
    """
    held = study.user_attrs.get(CHECKPOINT_FOLDER, {})
    places = list(_places(held, folder, named))
    return next((place for place in places if _mark(place) == held.get("id")), places[0])


def checkpoint_folder_of(study: optuna.Study, settings: SearchSettings) -> Place:
    """`checkpoint_folder` by the settings of a call."""
    # one folder may serve many studies, whose trials have equal seeds
    named = place_of(settings.checkpoints) / settings.study_name if settings.checkpoints else None
    return checkpoint_folder(study, settings.folder, named)


def settle_checkpoint_folder(study: optuna.Study, settings: SearchSettings) -> Place:
    """The folder of the study's checkpoints, made and recorded where nothing depends on another.

    Raises:
        StudyError: trials of the study have their checkpoints in a folder that this machine does not see, or its store
            cannot be used.
    """
    with exclusive(study):
        held, folder = study.user_attrs.get(CHECKPOINT_FOLDER), checkpoint_folder_of(study, settings)
        if held is not None and _mark(folder) == held["id"]:
            return folder
        if held is not None and _is_needed(study):
            raise StudyError(
                "the folder of the study's checkpoints must be there: its trials continue from them",
                got=f"none of this study in {folder} or {held['folder']}",
                remedy="Mount it on this machine and name it with --checkpoints, or start another study with --study",
            )
        mark = _mark(folder) or secrets.token_hex(8)
        if isinstance(folder, RemotePath):
            folder.make_folder()
        with written_to(folder / MARK) as file:
            write_json(file, {"id": mark})
        stored = str(folder.resolve() if isinstance(folder, Path) else folder)
        study.set_user_attr(CHECKPOINT_FOLDER, {"folder": stored, "id": mark})
    return folder


def bytes_of_checkpoints(study: optuna.Study, folder: Path) -> int | None:
    """The size of the study's checkpoints, as far as this machine sees them; None where their store cannot be asked.

    Args:
        study: the study.
        folder: the study's folder.
    """
    with suppress(StoreError):
        place = checkpoint_folder(study, folder)
        if isinstance(place, RemotePath):
            return sum(size for name, size in place.sizes().items() if name.endswith(".pt"))
        return sum(path.stat().st_size for path in place.glob("*.pt"))
    return None


def mark_of(study: optuna.Study) -> str | None:
    """What the folder of the study's checkpoints is marked with; None where none is settled."""
    mark: str | None = study.user_attrs.get(CHECKPOINT_FOLDER, {}).get("id")
    return mark


def belongs_to(mark: str | None, folder: Place) -> bool:
    """Whether a folder of checkpoints has the mark of a study."""
    return mark is not None and mark == _mark(folder)


def _places(held: dict[str, str], folder: Path, named: Place | None) -> Iterator[Place]:
    if named:
        yield named
        return
    yield folder / CHECKPOINTS
    if held:
        yield place_of(held["folder"])


def _mark(folder: Place) -> str | None:
    path = folder / MARK
    if isinstance(path, RemotePath):
        text = path.read_text()
        return None if text is None else str(json.loads(text)["id"])
    return str(read_json(path)["id"]) if path.exists() else None


def _is_needed(study: optuna.Study) -> bool:
    """Whether a trial may continue from its checkpoint, or is about to write one."""
    trials = distinct(study.get_trials(deepcopy=False))
    return any(trial.state is TrialState.RUNNING or is_paused(trial) for trial in trials)
