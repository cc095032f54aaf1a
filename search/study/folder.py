"""A study's folder belongs to one study of one storage, so that none overwrites the files of another.

The folder of a study that lies in its own database, `studies/<study>/study.db`, is known by that file. A study of any
other storage leaves its identity in the folder, a random name that the storage holds too: the same database may be
reached by other addresses, from other machines, or after a move.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import optuna
from sqlalchemy.engine import make_url

from cifar.files import write_text
from search.settings import SearchSettings, StudyError
from search.study.attributes import IDENTITY
from search.study.exclusion import exclusive
from search.study.storage import DATABASE, shown_url

OWNER = ".owner"
"""File that holds the identity of the folder's study."""


def claim_folder(settings: SearchSettings, study: optuna.Study | Callable[[], optuna.Study | None]) -> None:
    """Makes the folder that of the study, if it is nobody's.

    Args:
        settings: name the study and its storage.
        study: the study, or what looks for it once the folder's owner is known, since another call may be making it;
            where there is none yet, the folder is only checked.

    Raises:
        StudyError: the folder belongs to another study.
    """
    owner, database = settings.folder / OWNER, settings.folder / DATABASE
    inside = _lies_in(settings, database)
    if database.exists() and not inside:
        raise _taken(settings, f"the study in {database}", "Give another --study")
    owned = owner.exists()
    found = study() if callable(study) else study
    if owned:
        if found is None or found.user_attrs.get(IDENTITY) != owner.read_text(encoding="utf-8").strip():
            raise _taken(settings, "a study of another storage", f"Give another --study, or remove {owner}")
    elif found is not None and not inside:
        write_text(owner, f"{settle_identity(found)}\n")


def settle_identity(study: optuna.Study) -> str:
    """The study's identity, a name that no other study has. One without gets it, once, whichever call is first.

    Without are studies that are just being made, and those made before there were identities.
    """
    if IDENTITY not in study.user_attrs:
        with exclusive(study):
            if IDENTITY not in study.user_attrs:
                study.set_user_attr(IDENTITY, uuid.uuid4().hex)
    return str(study.user_attrs[IDENTITY])


def _lies_in(settings: SearchSettings, database: Path) -> bool:
    """Whether the study's storage is this file."""
    url = settings.storage
    if url is None:
        return True
    path = make_url(url).database if url.startswith("sqlite") else url if "://" not in url else None
    return path is not None and Path(path).resolve() == database.resolve()


def _taken(settings: SearchSettings, owner: str, remedy: str) -> StudyError:
    rule = f"a folder belongs to one study of one storage, and {settings.folder} to {owner}"
    return StudyError(rule, got=shown_url(settings), remedy=remedy)
