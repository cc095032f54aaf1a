"""What was expected of each call of a search, kept in the study beside what the call took."""

from __future__ import annotations

import time
from dataclasses import dataclass, fields, replace

import optuna

from cifar.config import from_dict, to_dict
from search.planning.forecast import Forecast, disk, trials_reaching
from search.planning.plan import Plan
from search.settings import SearchSettings
from search.study.attributes import FORECAST, PARAMETERS, PRIOR
from search.study.trials import distinct, mean_epoch_seconds


@dataclass(frozen=True)
class Asked:
    """Settings of a call that its study's plan does not hold; the fields of `SearchSettings` of the same names."""

    sampler: str
    pruner: str
    warm_start: bool
    replicate: bool
    deterministic: bool
    device: str
    workers: int
    engine: str
    cpus_per_trial: float
    gpus_per_trial: float | None
    max_concurrent: int | None


@dataclass(frozen=True)
class Call:
    """One call of the search."""

    reaching: tuple[int, ...]
    """Trials expected to be trained up to each rung; the first is all that are expected to start."""
    seconds: float | None
    """Seconds expected until its end; None is unknown."""
    disk: int | None
    """Bytes of checkpoints expected when it ends; None is unknown."""
    resumes: bool
    """Whether the space resumes from a checkpoint; otherwise promoted trials are trained from the start."""
    epoch_seconds: float | None = None
    """Seconds expected of an epoch; None is unknown."""
    spent: float | None = None
    """Seconds that passed; None while it runs, or where it was killed."""
    asked: Asked | None = None
    """What it was asked; None of calls made before this was kept."""


def changes(study: optuna.Study, settings: SearchSettings) -> list[str]:
    """What is another sampler, pruner or prior than before: they may change, and values stay comparable."""
    earlier = [call.asked for call in calls(study) if call.asked]
    if not earlier:
        return []
    pairs = {key: (getattr(earlier[-1], key), getattr(settings, key)) for key in ("sampler", "pruner")}
    held = study.user_attrs.get(PRIOR, {}).get("name")
    pairs["prior"] = (held, settings.prior or held)
    return [
        f"{key:<12}{now} from now on; it was {before}. Earlier trials count as before"
        for key, (before, now) in pairs.items()
        if before != now
    ]


def open_call(
    study: optuna.Study, plan: Plan, outlook: Forecast | None, settings: SearchSettings, *, resumes: bool
) -> tuple[str, Call]:
    """Records what is expected of a call that begins; its key for `close_call`."""
    key = f"{FORECAST}{time.time():.3f}"
    reaching: tuple[int, ...] = ()
    space_taken = seconds = epoch_seconds = None
    if outlook is not None:
        trials, baseline = outlook.trials, outlook.baseline
        expected = trials_reaching(plan, settings.pruner, trials, baseline=baseline)
        reaching = tuple(expected) if trials else ()
        seconds, epoch_seconds = outlook.seconds or None, outlook.epoch_seconds or None
        space_taken = disk(plan, settings.pruner, trials, mean_parameters(study), baseline=baseline)
    asked = Asked(**{field.name: getattr(settings, field.name) for field in fields(Asked)})
    call = Call(reaching, seconds, space_taken, resumes, epoch_seconds, asked=asked)
    study.set_user_attr(key, to_dict(call))
    return key, call


def close_call(study: optuna.Study, key: str, call: Call, spent: float) -> None:
    """Records what a call took.

    Args:
        study: the study that was searched.
        key: the call's key, from `open_call`.
        call: what was expected, from `open_call`.
        spent: seconds that passed.
    """
    study.set_user_attr(key, to_dict(replace(call, spent=round(spent, 1))))


def calls(study: optuna.Study) -> list[Call]:
    """The study's calls as they began; none of a study that recorded none."""
    attributes = study.user_attrs
    keys = sorted(key for key in attributes if key.startswith(FORECAST))
    return [from_dict(Call, attributes[key], where=f"{key} of study {study.study_name}") for key in keys]


def mean_parameters(study: optuna.Study) -> float | None:
    """Mean parameters of the networks tried so far; None before the first."""
    found = [t.user_attrs[PARAMETERS] for t in study.get_trials(deepcopy=False) if PARAMETERS in t.user_attrs]
    return sum(found) / len(found) if found else None


def measured_epoch(study: optuna.Study) -> float | None:
    """Mean seconds of the epochs that the study has trained; None before the first."""
    return mean_epoch_seconds(distinct(study.get_trials(deepcopy=False)))
