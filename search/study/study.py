"""The Optuna study of a search: opened or continued, with the plan it was made for, and its trials found by name.

Everything that later calls need is in the study itself: the plan and the space in its user attributes, each trial's
candidate, cost, seed and time in the trial's.
"""

from __future__ import annotations

import json
import os
import socket
import warnings
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Literal

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from cifar.config import from_dict
from cifar.files import atomic_write
from search.planning.plan import Plan
from search.settings import SearchSettings, StudyError
from search.study.attributes import (
    CANDIDATE,
    CONTINUES,
    DATA,
    PAUSED,
    PLAN,
    REASON,
    RETRY_OF,
    SEED,
    SOURCE,
    SPACE,
    STINT,
    WORKER,
)
from search.study.cached_storage import CachedStorage
from search.study.storage import exists, open_storage, shown_url
from search.study.trials import distinct, is_feasible, is_paused

INTERRUPTED = "interrupted"
KILLED = "its process ended"
UNCLAIMED = timedelta(minutes=1)  # after which a running trial that names no worker is lost


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


def require_study(settings: SearchSettings) -> optuna.Study:
    """The study.

    Raises:
        StudyError: no such study.
    """
    study = find_study(settings)
    if study is None:
        raise StudyError(
            "the study must exist",
            got=f"{settings.study_name!r} in {shown_url(settings)}",
            remedy="Start it with python -m search.run, or give --study and --storage as there",
        )
    return study


def stored_plan(study: optuna.Study) -> Plan:
    """The plan that the study's trials share.

    Raises:
        StudyError: the study was not made by `search.run`.
    """
    plan = study.user_attrs.get(PLAN)
    if not isinstance(plan, dict):
        raise StudyError(
            "the study must have been made by search.run", got=study.study_name, remedy="Give another --study"
        )
    return from_dict(Plan, plan, where=f"plan of study {study.study_name}")


def create_study(
    settings: SearchSettings,
    plan: Plan,
    direction: Literal["maximize", "minimize"],
    fingerprint: str | None,
    source: str | None,
) -> optuna.Study:
    """A new study that holds its plan, space and data fingerprint."""
    study = optuna.create_study(study_name=settings.study_name, storage=open_storage(settings), direction=direction)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(["validation accuracy" if fingerprint else "objective"])
    for key, value in (
        (PLAN, asdict(plan)),
        (SPACE, settings.space),
        (DATA, fingerprint),
        (SOURCE, source),
        (SEED, settings.seed),
    ):
        study.set_user_attr(key, value)
    return study


def check_continues(study: optuna.Study, settings: SearchSettings, fingerprint: str | None) -> None:
    """Refuses to continue a study with settings under which new values would not compare with the old ones.

    Raises:
        StudyError: names the setting, both values and the remedy.
    """
    plan = stored_plan(study)
    held: dict[str, Any] = {"space": study.user_attrs.get(SPACE), **asdict(plan)}
    asked = {"space": settings.space, "mac_budget": settings.mac_budget or None}
    asked |= {key: getattr(settings, key) for key in ("min_epochs", "max_epochs", "train_size")}
    for key, value in asked.items():
        if value is not None and value != held[key]:
            _refuse(study, f"--{key.replace('_', '-')}", held[key], value)
    limits = settings.param_budgets or ((settings.param_budget,) if settings.param_budget else ())
    held_limits = plan.param_budgets or (plan.param_budget,)
    if limits and limits != held_limits:
        _refuse(study, "--param-budget", ",".join(map(str, held_limits)), ",".join(map(str, limits)))
    if fingerprint != study.user_attrs.get(DATA):
        _refuse(study, "--data", study.user_attrs.get(SOURCE), "other images")


def _refuse(study: optuna.Study, option: str, held: object, asked: object) -> None:
    raise StudyError(
        f"study {study.study_name!r} goes on with the {option} that it began with ({held})",
        got=asked,
        remedy=f"Leave {option} as it was, or start another study with --study NAME",
    )


def this_worker() -> dict[str, Any]:
    """Host and process, to tell a running trial from one whose process was killed."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


def counted(trials: Iterable[FrozenTrial]) -> int:
    """Trials that count against `--trials`: not those that failed, were interrupted, infeasible, repeat, or wait."""
    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    return sum(t.state in states and is_feasible(t) for t in distinct(trials))


def look_again(study: optuna.Study) -> None:
    """Reads what other processes wrote, where the storage answers from memory."""
    if isinstance(study._storage, CachedStorage):
        study._storage.refresh(study._study_id)


def taken(study: optuna.Study, trial: FrozenTrial) -> bool:
    """Whether another process has gone on with a paused trial since this one looked.

    Workers of one call decide one after another. Two calls on one storage could still both go on with a trial within
    the milliseconds between this question and the claim: Optuna's storages have no atomic one for running trials.
    """
    if trial.state is TrialState.PRUNED:
        look_again(study)
        return any(t.user_attrs.get(CONTINUES) == trial.number for t in study.get_trials(deepcopy=False))
    if isinstance(study._storage, CachedStorage):
        study._storage.read_again(trial._trial_id)
    now = study._storage.get_trial(trial._trial_id)
    return now.state is not TrialState.RUNNING or not is_paused(now)


def recover_lost_trials(study: optuna.Study, *, others: bool = False) -> int:
    """Closes trials whose process on this machine is gone; returns how many must be trained again.

    A trial with a checkpoint is told PRUNED, to be continued from there; others fail and are queued again.

    Args:
        study: of the trials.
        others: whether this process is at work: its own trials are not lost then, and paused ones may stay open.
    """
    lost = [t for t in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)) if _is_lost(t)]
    if others:
        lost = [t for t in lost if not is_paused(t) and t.user_attrs.get(WORKER) != this_worker()]
    again = [t for t in lost if not _has_checkpoint(t)]
    for trial in lost:
        if trial in again:
            _tell(study, trial, TrialState.FAIL, KILLED)
            requeue(study, trial)
        else:
            if not is_paused(trial):  # was going on when its process died
                study._storage.set_trial_user_attr(trial._trial_id, PAUSED, trial.user_attrs[STINT][0])
            _tell(study, trial, TrialState.PRUNED, _waited(trial) if is_paused(trial) else KILLED)
    return len(again)


def close_paused_trials(study: optuna.Study) -> None:
    """Tells paused trials PRUNED with their last value, as a search ends; a later one can continue them.

    Those of a process that still runs are its own to close.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if is_paused(trial) and _is_lost(trial):
            _tell(study, trial, TrialState.PRUNED, _waited(trial))


def _waited(trial: FrozenTrial) -> str:
    """The reason of a trial that is closed while it is paused."""
    return f"waited at {trial.user_attrs.get(PAUSED)} epochs for promotion"


def _tell(study: optuna.Study, trial: FrozenTrial, state: TrialState, reason: str) -> None:
    study._storage.set_trial_user_attr(trial._trial_id, REASON, reason)
    study.tell(trial.number, state=state)


def resumed(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """The trial as one that can report again."""
    plain = optuna.Study(study.study_name, study._storage, sampler=optuna.samplers.RandomSampler())
    return optuna.Trial(plain, trial._trial_id)  # with a sampler that proposes nothing here: its parameters are known


def reopened(study: optuna.Study, trial: FrozenTrial) -> optuna.Trial:
    """A new trial that continues one that was closed while it was paused: same parameters, values and seed."""
    epochs = trial.user_attrs[PAUSED]
    study.add_trial(
        optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={**trial.user_attrs, CONTINUES: trial.number, WORKER: this_worker()},
            system_attrs={k: v for k, v in trial.system_attrs.items() if k.startswith("constraints")},
            intermediate_values={step: v for step, v in trial.intermediate_values.items() if step <= epochs},
        )
    )
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return resumed(study, next(t for t in reversed(running) if t.user_attrs.get(CONTINUES) == trial.number))


def _has_checkpoint(trial: FrozenTrial) -> bool:
    return is_paused(trial) or bool(trial.user_attrs.get(STINT, [0])[0])


def _is_lost(trial: FrozenTrial) -> bool:
    worker = trial.user_attrs.get(WORKER)
    if not isinstance(worker, dict):  # killed between being asked and saying who runs it
        started = trial.datetime_start
        return started is not None and datetime.now() - started > UNCLAIMED
    if worker.get("host") != socket.gethostname():
        return False
    pid = int(worker["pid"])
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def requeue(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queues the same parameters again, to be tried next."""
    attributes = {key: value for key, value in trial.user_attrs.items() if key == "recipe"}
    study.enqueue_trial(dict(trial.params), user_attrs={**attributes, RETRY_OF: trial.number})


def reached(trial: FrozenTrial) -> int:
    """Epochs that the trial was trained and reported."""
    return trial.last_step or 0


def ranked(study: optuna.Study) -> list[FrozenTrial]:
    """Feasible trials with a value, best first: complete ones, then those that were stopped, the longest first.

    Values after different numbers of epochs do not compare, so a trial stopped early never precedes a complete one.
    """
    sign = -1 if study.direction is optuna.study.StudyDirection.MAXIMIZE else 1
    trials = [t for t in distinct(study.get_trials(deepcopy=False)) if t.state.is_finished()]
    valued = [t for t in trials if t.value is not None and reached(t) and is_feasible(t)]
    return sorted(
        valued, key=lambda t: (t.state != TrialState.COMPLETE, -reached(t), sign * (t.value or 0.0), t.number)
    )


def choose_trials(study: optuna.Study, wanted: str) -> list[FrozenTrial]:
    """The trials that `best`, a number or `top-K` names.

    Raises:
        StudyError: not one of these forms, no such trial, or none with a value yet.
    """
    if wanted.isdecimal():
        found = [t for t in study.get_trials(deepcopy=False) if t.number == int(wanted) and CANDIDATE in t.user_attrs]
        if not found:
            count = len(study.get_trials(deepcopy=False))
            raise StudyError(
                f"--trial must be one of the study's {count} trials", got=wanted, remedy="See its trials.csv"
            )
        return found
    kind, _, number = wanted.partition("-")
    if wanted != "best" and not (kind == "top" and number.isdecimal() and int(number) >= 1):
        raise StudyError("--trial is best, a trial's number, or top-K", got=repr(wanted), remedy="Use best")
    trials = ranked(study)
    if not trials:
        raise StudyError("the study must have a trial with a value", got="none yet", remedy="Run search.run longer")
    return trials[: 1 if wanted == "best" else int(number)]


def write_trials_csv(study: optuna.Study, settings: SearchSettings) -> None:
    """Writes `trials.csv`: one row a trial, with its parameters, figures and candidate as JSON, through pandas."""
    table: pd.DataFrame = study.trials_dataframe(
        attrs=("number", "state", "value", "datetime_start", "duration", "user_attrs", "params")
    )
    table = table.rename(
        columns=lambda name: "value" if name.startswith("value_") else name.removeprefix("user_attrs_")
    )
    if CANDIDATE in table:
        table[CANDIDATE] = table[CANDIDATE].map(lambda value: json.dumps(value) if isinstance(value, dict) else value)
    table["epochs"] = [reached(t) for t in study.get_trials(deepcopy=False)]
    table = table.drop(columns=[name for name in (WORKER,) if name in table])
    with atomic_write(settings.folder / "trials.csv") as file:
        table.to_csv(file, index=False)
