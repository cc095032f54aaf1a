"""Whether a space still means what it meant when a study began.

An own space may be edited between two calls. A trial that was paused would then go on with the weights of one candidate
under the recipe of another, and a sampler would learn from values of parameters that mean something else.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.engine.candidate_record import candidate_of
from search.engine.exceptions import described
from search.settings import SearchSettings, StudyError
from search.study.attributes import CANDIDATE, given
from search.study.cached_storage import refreshed_trial
from search.study.study import stored_plan
from search.study.trials import last_ones
from spaces.base import SearchSpace

COMPARED = 5  # of the first trials, and of the last


def check_space(study: optuna.Study, space: SearchSpace) -> None:
    """Refuses a space of another direction, one that cannot train as long, or by which earlier trials would be others.

    Raises:
        StudyError: names what differs.
    """
    began = study.directions[0].name.lower()
    if began != space.direction:
        raise _edited(study, f"direction {space.direction!r}, which was {began!r}")
    longest = stored_plan(study).max_epochs
    if space.max_epochs is not None and space.max_epochs < longest:
        raise _edited(study, f"at most {space.max_epochs} epochs, where the study's trials have {longest}")
    proposed = [t for t in last_ones(study.get_trials(deepcopy=False)) if CANDIDATE in t.user_attrs]
    for trial in {t.number: t for t in (*proposed[:COMPARED], *proposed[-COMPARED:])}.values():
        differs = _difference(space, trial)
        if differs and trial.state is TrialState.RUNNING:  # its call may have written it while it was read, in parts
            differs = _difference(space, refreshed_trial(study, trial))
        if differs:
            raise _edited(study, f"a trial {trial.number} of another candidate: {differs}")


def longer_now(study: optuna.Study, space: SearchSpace, settings: SearchSettings) -> list[str]:
    """What a user is told whose space can train longer than the study's trials, where no option says how long."""
    longest = stored_plan(study).max_epochs
    if settings.max_epochs or space.max_epochs in (None, longest):
        return []
    return [f"{'epochs':<12}{longest} in full, as the study began; the space can train {space.max_epochs}"]


def _edited(study: optuna.Study, got: str) -> StudyError:
    return StudyError(
        f"study {study.study_name!r} continues with the space that it began with, but that was edited",
        got=got,
        remedy="Undo the edit, or start another study with --study NAME",
    )


def _difference(space: SearchSpace, trial: FrozenTrial) -> str:
    """What is another candidate by the trial's parameters now, and why; empty where it is the same.

    What the stored candidate lacks is left alone: it is a setting that came later, with a default.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Optuna's, of values out of a range that is narrower now
            now = candidate_of(space, trial.params, given(trial.user_attrs), trial.number).to_dict()
    except Exception as error:  # of the space, such as that a parameter is not among the trial's
        return described(error)
    return next(_differences(trial.user_attrs[CANDIDATE], now), "")


def _differences(stored: Mapping[str, Any], now: Mapping[str, Any], where: str = "") -> Iterator[str]:
    for key, value in stored.items():
        name, found = f"{where}{key}", now.get(key)
        if isinstance(value, Mapping) and isinstance(found, Mapping):
            yield from _differences(value, found, f"{name}.")
        elif found != value and not _same_sequence(value, found):
            yield f"{name} was {value!r} and is {found!r}"


def _same_sequence(stored: object, now: object) -> bool:
    """Whether a list in JSON stands for this tuple."""
    return isinstance(stored, list) and isinstance(now, tuple) and stored == _listed(now)


def _listed(value: object) -> object:
    return [_listed(part) for part in value] if isinstance(value, tuple | list) else value
