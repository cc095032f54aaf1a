"""A study, its trials, and the list of studies, as sections for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from search.engine.outcomes import counts_of, outcome_of, word
from search.format import format_bytes, format_count, format_duration, format_epochs, format_value
from search.planning.description import describe_rungs
from search.planning.plan import Plan
from search.reporting.studies.objectives_section import format_second, objectives_section
from search.reporting.studies.standing_section import standing_section
from search.reporting.studies.study_card import TOP
from search.reporting.summary import summary_of
from search.reporting.tables import Section, Table
from search.settings import SearchSettings, StudyError
from search.study.attributes import PROPOSED_BY, SOURCE, SPACE, TrialRecord, record
from search.study.objectives import describe_objectives, front_trials, second_objective
from search.study.standing import standing
from search.study.study import require_study, stored_plan, study_names
from search.study.trials import ranked, reached, value_of


def list_section(storage: str | None) -> Section:
    """The studies in their own folders, or in a storage, with trials, best value and size on disk."""
    rows = [_study_row(name, storage) for name in study_names(SearchSettings(storage=storage))]
    if not rows:
        return Section("", ("There is no study yet: start one with python -m search.run.",))
    return Section("", (Table(("study", "trials", "best", "on disk"), tuple(rows), words=(0, 1)),))


def _study_row(name: str, storage: str | None) -> tuple[str, ...]:
    try:
        settings = SearchSettings(study=name, storage=storage)
        study = require_study(settings)
        plan, stands = stored_plan(study), standing(study)
    except StudyError:  # of another program, in the same storage
        return name, "not made by search.run", "", ""
    size = format_bytes(_size(settings.folder))
    best = "" if stands is None else format_value(value_of(stands.best), plan.train_size > 0)
    return study.study_name, counts_of(study.get_trials(deepcopy=False)), best, size


def _size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def study_sections(study: optuna.Study) -> list[Section]:
    """What was asked, how far it is, and which trials are best."""
    plan, attributes, stands = stored_plan(study), study.user_attrs, standing(study)
    about = [
        f"space       {attributes[SPACE]}",
        f"data        {attributes.get(SOURCE) or 'none'}",
        *describe_objectives(study),
        describe_rungs(plan),
    ]
    about.append(f"trials      {counts_of(study.get_trials(deepcopy=False))}")
    sections = [Section(f"Study {study.study_name}", tuple(about))]
    if stands is not None:
        rows = tuple(_trial_row(trial, plan) for trial in ranked(study)[:TOP])
        table = Table(("trial", "state", "epochs", "value", "parameters", "candidate"), rows, words=(1, 5))
        sections += [Section("Best trials", (table,)), standing_section(stands)]
    if (objective := second_objective(study)) is not None:
        sections.append(objectives_section(objective, front_trials(study), plan.train_size > 0, TOP))
    return sections


def _trial_row(trial: FrozenTrial, plan: Plan) -> tuple[str, ...]:
    value, size = format_value(value_of(trial), plan.train_size > 0), format_count(record(trial).parameters, missing="")
    state = word(outcome_of(trial))
    return str(trial.number), state, f"{reached(trial)}/{plan.max_epochs}", value, size, summary_of(trial)


def trial_sections(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[Section]:
    """Each trial: what it is, what became of it, its values by epoch, and its parameters."""
    percent = stored_plan(study).train_size > 0
    return [_trial_section(trial, percent) for trial in trials]


def _trial_section(trial: FrozenTrial, percent: bool) -> Section:
    held = record(trial)
    facts = {
        "state": ": ".join(filter(None, (word(outcome_of(trial)), held.reason))),
        "candidate": summary_of(trial),
        "parameters": format_count(held.parameters, missing=""),
        "MACs": format_count(held.macs, missing=""),
        "latency": _latency(held),
        "trained": format_epochs(reached(trial)),
        "an epoch": "" if held.epoch_seconds is None else _seconds(held.epoch_seconds),
        "proposed by": held.warm_start or str(trial.user_attrs.get(PROPOSED_BY, "")),
        "goes on from": "" if held.resumes is None else f"trial {held.resumes}",
        "repeats": "" if held.repeats is None else f"trial {held.repeats}",
    }
    values = tuple(
        (str(epoch), format_value(value, percent)) for epoch, value in sorted(trial.intermediate_values.items())
    )
    chosen = tuple((name, str(value)) for name, value in trial.params.items())
    parts: list[str | Table] = [
        Table(("", ""), tuple((key, text) for key, text in facts.items() if text), words=(0, 1))
    ]
    parts += [Table(("epoch", "value"), values, words=())] if values else []
    parts += [Table(("setting", "chosen"), chosen, words=(0, 1))] if chosen else []
    return Section(f"Trial {trial.number}", tuple(parts))


def _seconds(seconds: float) -> str:
    return format_duration(seconds) if seconds >= 10 else f"{seconds:.2g} s"


def _latency(held: TrialRecord) -> str:
    """How long the network takes to answer; empty where that was not measured."""
    if held.latency is None:
        return ""
    one, batch = (format_second(value, "latency", unit=True) for value in (held.latency, held.batch_latency))
    return f"{one} for one image, {batch} for 128"
