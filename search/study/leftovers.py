"""What killed processes leave in the folder of a study's checkpoints, and nobody will use."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.study.attributes import record
from search.study.cached_storage import refresh
from search.study.checkpoints import MARK, belongs_to, checkpoint_names, mark_of
from search.study.remote import Place
from search.study.standing import standing
from search.study.trials import distinct, is_paused, reached

CHECKPOINT = re.compile(r"(?P<seed>[0-9a-f]{16})(-\d+)?\.pt")
TEMPORARY = re.compile(r"\.[0-9a-f]{16}-\d+\.pt\.[0-9a-f]{12}\.tmp")
"""What `cifar.files.atomic_path` makes of a checkpoint's name."""
LEFT_BEHIND = 3600.0
"""Seconds after which a temporary file is that of a killed process: writing one takes far less."""


def leftovers(study: optuna.Study, folder: Place, *, own: bool) -> list[Place]:
    """Files that no trial of the study continues from and no model is made of; none of a folder that is not its own.

    They are listed before the study is read: a trial is recorded before it writes a checkpoint, so that one that
    another call begins meanwhile is known.

    Args:
        study: the study.
        folder: where its checkpoints are.
        own: whether that lies in the study's own folder; elsewhere, and where it has a mark, that must be the study's.
    """
    files = [*_matching(folder, "*.pt"), *_matching(folder, ".*.tmp")]
    if not files or not (belongs_to(mark_of(study), folder) if (folder / MARK).exists() else own):
        return []
    refresh(study)
    needed = set(_needed(study, folder))
    running = {record(t).seed for t in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))}
    return [path for path in files if path not in needed and _is_left(path, running)]


def _matching(folder: Place, pattern: str) -> list[Place]:
    found: Iterable[Place] = folder.glob(pattern)
    return sorted(found, key=str)


def _needed(study: optuna.Study, folder: Place) -> Iterator[Place]:
    """Checkpoints of paused trials, and of complete ones whose weights are kept."""
    stands = standing(study)
    kept = stands.kept if stands else frozenset[int]()
    for trial in distinct(study.get_trials(deepcopy=False)):
        if is_paused(trial):
            yield from _files(folder, trial, record(trial).paused)
        elif trial.number in kept:
            yield from _files(folder, trial, reached(trial))


def _files(folder: Place, trial: FrozenTrial, epoch: int) -> Iterator[Place]:
    seed = record(trial).seed
    if seed is not None:
        yield from (folder / name for name in checkpoint_names(seed, epoch))


def _is_left(path: Place, running: set[int | None]) -> bool:
    """Whether a file that no trial needs is a checkpoint, or the beginning of one, that no process is writing."""
    if TEMPORARY.fullmatch(path.name):
        return path.stat().st_mtime < time.time() - LEFT_BEHIND
    found = CHECKPOINT.fullmatch(path.name)
    return found is not None and int(found["seed"], 16) not in running
