"""A study's card: `studies/<name>/README.md`, generated from the study, with what was searched and what came out."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from cifar.files import write_text
from cifar.runtime.device import Device
from search.engine.outcomes import counts_of, outcome_of, word
from search.format import format_count, format_duration, format_limits, format_lr, format_value
from search.planning.plan import Plan
from search.reporting.candidate_words import parts, shape
from search.reporting.studies.objectives_section import objectives_section
from search.reporting.studies.pareto import best_by_limit, costed_trials
from search.reporting.studies.pareto_sections import front_section, limits_section
from search.reporting.studies.resource_usage import training_seconds
from search.reporting.studies.standing_section import standing_section
from search.reporting.tables import Section, Table, markdown
from search.settings import SearchSettings
from search.study.attributes import BASELINE, OBJECTIVES, PRIOR, SEED, SOURCE, SPACE, record
from search.study.objectives import front_trials, second_objective
from search.study.standing import standing
from search.study.storage import shown_url
from search.study.trials import ranked, reached, value_of

TOP = 10  # trials in the table


def card_path(settings: SearchSettings) -> Path:
    """Where a study's card lies."""
    return settings.folder / "README.md"


def write_card(study: optuna.Study, settings: SearchSettings, plan: Plan, device: Device) -> None:
    """Writes the card; nothing in it is typed by hand."""
    write_text(card_path(settings), "\n".join(_lines(study, settings, plan, device)) + "\n")


def _lines(study: optuna.Study, settings: SearchSettings, plan: Plan, device: Device) -> list[str]:
    written = "Written by `python -m search.run`; values are of the last epoch of each trial, on validation images."
    title = [f"# Study `{study.study_name}`", "", written, ""]
    facts = Section("", (_facts(study, settings, plan, device),))
    return [*title, *markdown([facts, _best_section(study, plan), *_sections(study, plan)])][:-1]


def _facts(study: optuna.Study, settings: SearchSettings, plan: Plan, device: Device) -> Table:
    asked = study_facts(study, plan)
    facts = {
        "space": f"`{asked.pop('space')}`",
        **asked,
        "sampler and pruner": f"{settings.sampler}, {settings.pruner}",
        "hardware": f"{device.describe()} ({platform.machine()}, {platform.system()})",
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "storage": f"`{shown_url(settings)}`",
    }
    return Table(("", ""), tuple(facts.items()), words=(0, 1))


def study_facts(study: optuna.Study, plan: Plan) -> dict[str, str]:
    """What was asked of a study, and how much of it was done, by name."""
    trials, attributes = study.get_trials(deepcopy=False), study.user_attrs
    return {
        "space": str(attributes.get(SPACE, "unknown")),
        "data": _data(plan, attributes.get(SOURCE)),
        "limits": f"{_limit(plan)} parameters, {_number(plan.mac_budget)} multiply-accumulates an image",
        **_objectives(study),
        "rungs": f"{', '.join(map(str, plan.rungs))} epochs, eta {plan.eta}",
        "seed": str(attributes.get(SEED, "unknown")),
        "prior": attributes.get(PRIOR, {}).get("name", "none"),
        "trials": counts_of(trials),
        "training time": f"about {format_duration(training_seconds(trials))}",
    }


def _objectives(study: optuna.Study) -> dict[str, str]:
    """Both objectives; nothing in a study of one."""
    held = study.user_attrs.get(OBJECTIVES)
    return {"objectives": " and ".join(held)} if held else {}


def _best_section(study: optuna.Study, plan: Plan) -> Section:
    columns = ("trial", "state", "epochs", "value", "parameters", "MACs", "network", "optimizer", "schedule")
    rows = tuple(_row(trial, plan.train_size > 0) for trial in ranked(study)[:TOP])
    table = Table(columns, rows, words=tuple(range(len(columns))))
    note = "Complete trials first, then those stopped early, longest first: values of different lengths do not compare."
    return Section("Best trials", (note, table))


def _sections(study: optuna.Study, plan: Plan) -> list[Section]:
    """The baseline; the front of two objectives; where the space has a cost, the best by limit and the Pareto front."""
    found, percent, stands = costed_trials(study), plan.train_size > 0, standing(study)
    sections: list[Section] = [standing_section(stands)] if stands else []
    if (objective := second_objective(study)) is not None:
        sections.append(objectives_section(objective, front_trials(study), percent, TOP))
    if plan.param_budgets:
        sections.append(limits_section(best_by_limit(found, plan.param_budgets), percent))
    if found:
        sections.append(front_section(found, percent, TOP))
    return sections


def _data(plan: Plan, source: str | None) -> str:
    if source is None:
        return "none"
    return f"{plan.train_size:,} training and {plan.val_limit:,} validation images of `{Path(source).name}`"


def _row(trial: FrozenTrial, percent: bool) -> tuple[str, ...]:
    held = record(trial)
    return (
        f"{trial.number}, the baseline" if BASELINE in trial.user_attrs else str(trial.number),
        word(outcome_of(trial)),
        str(reached(trial)),
        format_value(value_of(trial), percent),
        format_count(held.parameters, missing=""),
        format_count(held.macs, missing=""),
        *_described(held.candidate or {}),
    )


def _described(candidate: Mapping[str, Any]) -> tuple[str, str, str]:
    """Network, optimizer and schedule of a stored candidate; empty where it has no such part."""
    network, recipe = parts(candidate)
    if "optimizer" not in recipe:
        return "", "", ""
    lr = format_lr(recipe["optimizer"]["lr"])
    return shape(network), f"{recipe['optimizer']['name']} {lr}", recipe["schedule"]["name"]


def _limit(plan: Plan) -> str:
    return format_limits(plan.param_budgets) if plan.param_budgets else _number(plan.param_budget)


def _number(limit: int | None) -> str:
    return format_count(limit, missing="any number of")
