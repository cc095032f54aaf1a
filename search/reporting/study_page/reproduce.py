"""Everything to repeat a study: the commands, the data's fingerprint, and the versions of what wrote the page."""

from __future__ import annotations

import platform
import shlex
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import optuna

from cifar.data.prepare import OFFICIAL
from search.config_file import Value, write_options
from search.planning.plan import Plan
from search.reporting.pages import html
from search.settings import SearchSettings
from search.study.attributes import DATA, OBJECTIVES, PRIOR, SEED, SOURCE, SPACE, SPLIT
from search.study.session_log import Asked, calls

PACKAGES = ("cifar-budget-search", "torch", "torchvision", "optuna", "numpy", "plotly")
"""Packages whose versions are told."""
STUDY_FILE = "study.toml"
"""The options of `search.run` that repeat a study, for `--config`; beside the study's page."""


def section(study: optuna.Study, plan: Plan) -> str:
    """The commands and facts."""
    facts = {
        "seed": study.user_attrs.get(SEED, "unknown"),
        "fingerprint of the data": study.user_attrs.get(DATA) or "no images",
    }
    facts |= {"python": platform.python_version(), "system": f"{platform.system()}, {platform.machine()}"}
    facts |= {name: found for name in PACKAGES if (found := _version(name))}
    table = html.table("As this page was written.", ("", ""), [(k, str(v)) for k, v in facts.items()], kind="facts")
    again = shlex.join(["python", "-m", "search.run", *_words(options(study, plan))])
    best = shlex.join(["python", "-m", "search.retrain", "--trial", "best", "--study", study.study_name])
    return (
        html.paragraph("A study of the same plan, and the training of its best trial in full:")
        + html.block(f"{again}\n{best}")
        + html.link("The first one's options as a file, for --config", STUDY_FILE)
        + html.note(
            "The plan is in the options, so that another machine keeps it too; what is chosen for each call, such as "
            "the sampler, is the last call's. With one worker, --deterministic and the same hardware, equal seeds give "
            "equal trials; but Hyperband's brackets follow the study's name."
        )
        + f"<div class=after>{table}</div>"
    )


def write_study_file(study: optuna.Study, plan: Plan, folder: Path) -> None:
    """Writes the options that repeat the study, for `search.run --config`."""
    name = study.study_name
    write_options(folder / STUDY_FILE, options(study, plan), f"repeats study {name}: python -m search.run --config")


def options(study: optuna.Study, plan: Plan) -> dict[str, Value]:
    """Options of `search.run` for a study of the same plan, by name; those at their defaults are left out."""
    held = study.user_attrs
    found: dict[str, Value | None] = {
        "space": held.get(SPACE),
        "study": f"{study.study_name}-again",
        "data": held.get(SOURCE) if held.get(SOURCE) != OFFICIAL else None,
        "split": held.get(SPLIT),
        "seed": held.get(SEED),
        "min-epochs": plan.min_epochs,
        "max-epochs": plan.max_epochs,
        "eta": plan.eta,
        "trials": len(study.get_trials(deepcopy=False)) or None,
        "prior": held.get(PRIOR, {}).get("name"),
        "objective": ",".join(held[OBJECTIVES]) if OBJECTIVES in held else None,
    }
    if plan.train_size:
        found |= {"train-size": plan.train_size, "val-size": plan.val_size, "mac-budget": plan.mac_budget or 0}
    if limits := plan.param_budgets or tuple(filter(None, (plan.param_budget,))):
        found["param-budget"] = ",".join(map(str, limits))
    asked = [call.asked for call in calls(study) if call.asked]
    return {name: value for name, value in {**found, **_of_call(asked)}.items() if value is not None}


def _of_call(asked: list[Asked]) -> dict[str, Value]:
    """What the last call was asked that is no default; the number of workers on a cluster is what had room."""
    if not asked:
        return {}
    last, defaults = asdict(asked[-1]), asdict(SearchSettings())
    if last["engine"] != defaults["engine"]:
        del last["workers"]
    return {name.replace("_", "-"): value for name, value in last.items() if value != defaults[name]}


def _words(options: dict[str, Value]) -> list[str]:
    """The options as words of a command line."""
    words: list[str] = []
    for name, value in options.items():
        if isinstance(value, bool):
            words.append(f"--{'' if value else 'no-'}{name}")
        else:
            words += [f"--{name}", str(value)]
    return words


def _version(package: str) -> str:
    """The installed version; empty where a package is not installed under its name."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
