"""The checkpoints of a study's trials: a file for each trial and epoch, in a folder that the study names.

The file's name says what the trial's record says, so that the two cannot disagree: a checkpoint that the record does
not mention is never read.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import optuna
from optuna.trial import TrialState

from cifar.files import read_json, write_json
from search.settings import SearchSettings, StudyError
from search.study.attributes import CHECKPOINT_FOLDER
from search.study.exclusion import exclusive
from search.study.trials import distinct, is_paused

CHECKPOINTS = "checkpoints"
"""Folder of the checkpoints in the study's, unless the settings name another."""
MARK = "study.json"
"""File in the folder of the checkpoints that tells whose it is."""


def checkpoint_of(folder: Path, seed: int, epoch: int) -> Path:
    """The file of a trial's state after so many epochs; named by its seed, which a trial that resumes it shares."""
    return folder / f"{seed:016x}-{epoch}.pt"


def saved_checkpoint(folder: Path, seed: int, epoch: int) -> Path | None:
    """The trial's checkpoint of that epoch, if there is one."""
    earlier = folder / f"{seed:016x}.pt"  # as it was named before names told the epoch
    return next((path for path in (checkpoint_of(folder, seed, epoch), earlier) if path.exists()), None)


def remove_checkpoints(folder: Path, seed: int, but: int | None = None) -> None:
    """Removes a trial's checkpoints, except the one that it resumes from at epoch `but`."""
    kept = None if but is None else saved_checkpoint(folder, seed, but)
    for path in folder.glob(f"{seed:016x}*.pt"):
        if path != kept:
            path.unlink(missing_ok=True)


def checkpoint_folder(study: optuna.Study, folder: Path, named: Path | None = None) -> Path:
    """The folder of the study's checkpoints, as far as this machine sees it; else where it would be.

    Args:
        study: the study.
        folder: the study's folder.
        named: the folder that the settings name instead.
    """
    held = study.user_attrs.get(CHECKPOINT_FOLDER, {})
    places = list(_places(held, folder, named))
    return next((place for place in places if _mark(place) == held.get("id")), places[0])


def checkpoint_folder_of(study: optuna.Study, settings: SearchSettings) -> Path:
    """`checkpoint_folder` by the settings of a call."""
    # one folder may serve many studies, whose trials have equal seeds
    named = Path(settings.checkpoints) / settings.study_name if settings.checkpoints else None
    return checkpoint_folder(study, settings.folder, named)


def settle_checkpoint_folder(study: optuna.Study, settings: SearchSettings) -> Path:
    """The folder of the study's checkpoints, made and recorded where nothing depends on another.

    Raises:
        StudyError: trials of the study have their checkpoints in a folder that this machine does not see.
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
        write_json(folder / MARK, {"id": mark})
        study.set_user_attr(CHECKPOINT_FOLDER, {"folder": str(folder.resolve()), "id": mark})
    return folder


def belongs_to(study: optuna.Study, folder: Path) -> bool:
    """Whether a folder of checkpoints is marked as the study's."""
    mark = _mark(folder)
    return mark is not None and mark == study.user_attrs.get(CHECKPOINT_FOLDER, {}).get("id")


def _places(held: dict[str, str], folder: Path, named: Path | None) -> Iterator[Path]:
    if named:
        yield named
        return
    yield folder / CHECKPOINTS
    if held:
        yield Path(held["folder"])


def _mark(folder: Path) -> str | None:
    path = folder / MARK
    return str(read_json(path)["id"]) if path.exists() else None


def _is_needed(study: optuna.Study) -> bool:
    """Whether a trial may continue from its checkpoint, or is about to write one."""
    trials = distinct(study.get_trials(deepcopy=False))
    return any(trial.state is TrialState.RUNNING or is_paused(trial) for trial in trials)
