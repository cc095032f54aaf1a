"""The Optuna study of a search: found or created, with the plan that its trials share.

Everything that later calls need is in the study itself: the plan and the space in its user attributes, and each
trial's candidate, cost, seed and time in those of the trial.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, fields, replace
from typing import Any, Literal

import optuna
import pandas as pd

from cifar.config import from_dict
from cifar.data.prepare import OFFICIAL
from cifar.files import atomic_write
from search.planning.plan import Plan
from search.settings import STUDIES_FOLDER, SearchSettings, StudyError
from search.study.attributes import (
    CANDIDATE,
    DATA,
    MAC_BUDGET_PROPOSED,
    OBJECTIVES,
    PLAN,
    RIGHT,
    SEED,
    SOURCE,
    SPACE,
    SPLIT,
    WORKER,
)
from search.study.exclusion import exclusive
from search.study.folder import settle_identity
from search.study.objectives import NAMES, check_objectives
from search.study.storage import DATABASE, exists, open_storage, shown_url
from search.study.trials import last_ones, reached, value_of


def find_study(settings: SearchSettings) -> optuna.Study | None:
    """The study if it exists.

    Raises:
        StudyError: the storage cannot be opened.
    """
    if not exists(settings):
        return None
    storage = open_storage(settings)
    if settings.study_name not in optuna.get_all_study_names(storage):
        return None
    return optuna.load_study(study_name=settings.study_name, storage=storage)


def find_whole_study(settings: SearchSettings) -> optuna.Study | None:
    """The study if it exists and its creation was not cut off.

    Raises:
        StudyError: the storage cannot be opened.
    """
    study = find_study(settings)
    return study if study and (PLAN in study.user_attrs or study.get_trials(deepcopy=False)) else None


def require_study(settings: SearchSettings) -> optuna.Study:
    """The study.

    Raises:
        StudyError: no such study.
    """
    study = find_study(settings)
    if study is None:
        known = ", ".join(study_names(settings))
        raise StudyError(
            "the study must exist",
            got=f"{settings.study_name!r} in {shown_url(settings)}",
            remedy=f"Known studies: {known}" if known else "Start it with python -m search.run",
        )
    return study


def study_names(settings: SearchSettings) -> list[str]:
    """Names of the studies that there are: in the storage or, where none is given, in folders of their own."""
    if settings.storage is None:
        return sorted(path.parent.name for path in STUDIES_FOLDER.glob(f"*/{DATABASE}"))
    return sorted(optuna.get_all_study_names(open_storage(settings))) if exists(settings) else []


def as_begun(settings: SearchSettings, *, space: bool) -> SearchSettings:
    """The settings with what the study began with, if it exists, where they leave it open.

    Args:
        settings: what the user asked for; data source and split may be open.
        space: whether the space is open too.
    """
    held = find_study(settings)
    if held is None:
        return settings
    attributes = held.user_attrs
    if settings.data is None and attributes.get(SOURCE) != OFFICIAL:
        settings = replace(settings, data=attributes.get(SOURCE))
    if settings.split is None:
        settings = replace(settings, split=attributes.get(SPLIT))
    return replace(settings, space=attributes.get(SPACE, settings.space)) if space else settings


def stored_plan(study: optuna.Study) -> Plan:
    """The plan that the study's trials share.

    Raises:
        StudyError: the study was not made by `search.run`, or by a later version of it.
    """
    plan = study.user_attrs.get(PLAN)
    if not isinstance(plan, dict):
        raise _foreign(study)
    later = plan.keys() - {field.name for field in fields(Plan)}
    if later:  # what they mean, trials here would not go by
        raise StudyError(
            f"the plan of study {study.study_name!r} must be of this version of the program, or of an earlier one",
            got=f"unknown keys {', '.join(sorted(later))}",
            remedy="Continue it with the version that made it, or start another study with --study NAME",
        )
    return from_dict(Plan, plan, where=f"plan of study {study.study_name}")


def _foreign(study: optuna.Study) -> StudyError:
    return StudyError(
        "the study must have been made by search.run", got=study.study_name, remedy="Give another --study"
    )


def create_study(
    settings: SearchSettings,
    plan: Plan,
    direction: Literal["maximize", "minimize"],
    fingerprint: str | None,
    source: str | None,
) -> optuna.Study:
    """A new study that holds its plan, space and data fingerprint, or one that another call has made meanwhile.

    A study whose creation was cut off is completed. The plan comes last: a study that holds one is whole.

    Raises:
        StudyError: there is a study of this name with another direction, which `search.run` did not make, or of
            other objectives.
    """
    second = settings.objective[1:]
    directions: list[Literal["maximize", "minimize"]] = [direction]
    directions += ["minimize"] * len(second)
    study = optuna.create_study(
        study_name=settings.study_name, storage=open_storage(settings), directions=directions, load_if_exists=True
    )
    if PLAN in study.user_attrs:
        check_objectives(study, settings)
    if [held.name.lower() for held in study.directions] != directions:
        raise _foreign(study)
    settle_identity(study)  # before anything else: another call may be claiming the study's folder
    with exclusive(study), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if PLAN not in study.user_attrs:
            names = ["validation accuracy" if fingerprint else "objective", *(NAMES[name] for name in second)]
            study.set_metric_names(names)
            if second:
                study.set_user_attr(OBJECTIVES, list(settings.objective))
            for key, value in (
                (SPACE, settings.space),
                (DATA, fingerprint),
                (SOURCE, source),
                (SPLIT, settings.split),
                (SEED, settings.seed or 0),
                (MAC_BUDGET_PROPOSED, bool(fingerprint and plan.mac_budget and settings.mac_budget is None)),
                (PLAN, asdict(plan)),
            ):
                study.set_user_attr(key, value)
    return study


def check_continues(study: optuna.Study, settings: SearchSettings, fingerprint: str | None) -> None:
    """Refuses to continue a study with settings under which new values would not compare with the old ones.

    Raises:
        StudyError: names the setting, both values and the remedy.
    """
    check_objectives(study, settings)
    plan = stored_plan(study)
    held: dict[str, Any] = {"space": study.user_attrs.get(SPACE), "seed": seed_of(study, settings), **asdict(plan)}
    asked = {"space": settings.space, "mac_budget": settings.mac_budget or None}
    images = ("train_size", "val_size") if fingerprint else ()
    asked |= {key: getattr(settings, key) for key in ("min_epochs", "max_epochs", "eta", "seed", *images)}
    for key, value in asked.items():
        if value is not None and value != held[key]:
            _refuse(study, f"--{key.replace('_', '-')}", held[key], value)
    limits = settings.param_budgets or ((settings.param_budget,) if settings.param_budget else ())
    held_limits = plan.param_budgets or (plan.param_budget,)
    if limits and limits != held_limits:
        _refuse(study, "--param-budget", ",".join(map(str, held_limits)), ",".join(map(str, limits)))
    if fingerprint != study.user_attrs.get(DATA):
        _refuse(study, "--data", study.user_attrs.get(SOURCE), "other images")


def seed_of(study: optuna.Study, settings: SearchSettings) -> int:
    """The seed that the study began with; that of the settings where it holds none."""
    return int(study.user_attrs.get(SEED, settings.seed or 0))


def _refuse(study: optuna.Study, option: str, held: object, asked: object) -> None:
    raise StudyError(
        f"study {study.study_name!r} continues with the {option} that it began with ({held})",
        got=asked,
        remedy=f"Leave {option} as it was, or start another study with --study NAME",
    )


def write_trials_csv(study: optuna.Study, settings: SearchSettings) -> None:
    """Writes `trials.csv`: one row a trial, with its parameters, figures and candidate as JSON, through pandas.

    A trial that was closed while paused, or failed, and goes on as another one is in that one's row.
    """
    table: pd.DataFrame = study.trials_dataframe(
        attrs=("number", "state", "datetime_start", "duration", "user_attrs", "params")
    )
    table = table.rename(columns=lambda name: name.removeprefix("user_attrs_"))
    table.insert(min(2, table.shape[1]), "value", [value_of(t) for t in study.get_trials(deepcopy=False)])
    if CANDIDATE in table:
        table[CANDIDATE] = table[CANDIDATE].map(lambda value: json.dumps(value) if isinstance(value, dict) else value)
    table["epochs"] = [reached(t) for t in study.get_trials(deepcopy=False)]
    kept = {t.number for t in last_ones(study.get_trials(deepcopy=False))}
    table = table.loc[[t.number in kept for t in study.get_trials(deepcopy=False)]]
    table = table.drop(columns=[name for name in (WORKER, RIGHT) if name in table])
    with atomic_write(settings.folder / "trials.csv") as file:
        table.to_csv(file, index=False)
