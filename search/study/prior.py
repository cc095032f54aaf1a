"""The prior of a study: its space's own, none, or the best trial of an earlier study.

What another study's best trial held is copied into the study, which so continues whatever becomes of the other one.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import optuna
from optuna.trial import FixedTrial, FrozenTrial

from search.settings import NO_PRIOR, OF_SPACE, OF_STUDY, SearchSettings, StudyError
from search.study.attributes import PRIOR, WARM_START, given
from search.study.study import require_study
from search.study.trials import ranked
from spaces.base import Prior, SearchSpace, WarmStart, propose


def earlier_best(settings: SearchSettings) -> FrozenTrial | None:
    """The best trial of the study that `--prior study:NAME` names; None for another prior.

    Raises:
        StudyError: no such study, or none of its trials has a value.
    """
    name = settings.prior or OF_SPACE
    if not name.startswith(OF_STUDY):
        return None
    found = ranked(require_study(replace(settings, study=name.removeprefix(OF_STUDY), prior=None)))
    if not found:
        raise StudyError(
            f"--prior {name} needs a trial with a value", got="none yet", remedy="Search longer there, or leave it out"
        )
    return found[0]


def settle_prior(
    study: optuna.Study, settings: SearchSettings, space: SearchSpace, earlier: FrozenTrial | None
) -> None:
    """Stores which prior the study has: as the settings say, else as it was, else the space's own.

    Args:
        study: a new one, or one that is continued.
        settings: name the prior.
        space: the study's space.
        earlier: what `earlier_best` found.

    Raises:
        StudyError: the earlier trial is of another space.
    """
    if settings.prior or PRIOR not in study.user_attrs:
        described: dict[str, Any] = {"name": settings.prior or OF_SPACE}
        study.set_user_attr(PRIOR, described | (_held(space, earlier, described["name"]) if earlier else {}))


def _held(space: SearchSpace, best: FrozenTrial, name: str) -> dict[str, Any]:
    """What the study keeps of the earlier trial."""
    point = {**space.added, **best.params}
    attributes = {key: value for key, value in given(best.user_attrs).items() if key != WARM_START}
    _require_inside(space, point, attributes, name, best)
    return {"trial": best.number, "point": point, "attributes": attributes}


def _require_inside(
    space: SearchSpace, point: Mapping[str, Any], attributes: Mapping[str, Any], name: str, best: FrozenTrial
) -> None:
    trial = FixedTrial(dict(point))
    for key, value in attributes.items():
        trial.set_user_attr(key, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # FixedTrial's where a value is outside its range
            propose(space, trial)
    except (ValueError, UserWarning) as error:
        raise StudyError(
            f"--prior {name} must name a study of this space, with limits as here",
            got=f"its best trial, {best.number}: {str(error).splitlines()[0].rstrip('.')}",
            remedy="Name another study, or leave --prior out",
        ) from error


def prior_of(study: optuna.Study, space: SearchSpace, passes: float) -> Prior | None:
    """The study's prior; None where there is none.

    Args:
        study: of which `settle_prior` stored it; otherwise it is the space's.
        space: the study's space.
        passes: length of a full trial, see `SearchSpace.prior`.
    """
    stored = study.user_attrs.get(PRIOR, {})
    own = None if stored.get("name") == NO_PRIOR else space.prior(passes)
    if "point" not in stored:
        return own
    return Prior(stored["point"]) if own is None else replace(own, point={**own.point, **stored["point"]})


def prior_start(study: optuna.Study) -> list[WarmStart]:
    """The best trial of the earlier study that the prior names, as a warm start; none for another prior."""
    stored = study.user_attrs.get(PRIOR, {})
    if "point" not in stored:
        return []
    name = f"trial {stored['trial']} of {stored['name'].removeprefix(OF_STUDY)}"
    return [WarmStart(name, stored["point"], stored["attributes"])]
