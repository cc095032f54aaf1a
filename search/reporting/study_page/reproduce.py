"""Everything to repeat a study: the commands, the data's fingerprint, and the versions of what wrote the page."""

from __future__ import annotations

import platform
import shlex
from importlib.metadata import PackageNotFoundError, version

import optuna

from search.planning.plan import Plan
from search.reporting.pages import html
from search.study.attributes import DATA, PRUNER, SAMPLER, SEED, SOURCE, SPACE

PACKAGES = ("cifar-budget-search", "torch", "torchvision", "optuna", "numpy", "plotly")
"""Packages whose versions are told."""


def section(study: optuna.Study, plan: Plan) -> str:
    """The commands and facts."""
    facts = {
        "seed": study.user_attrs.get(SEED, "unknown"),
        "fingerprint of the data": study.user_attrs.get(DATA) or "no images",
    }
    facts |= {"python": platform.python_version(), "system": f"{platform.system()}, {platform.machine()}"}
    facts |= {name: found for name in PACKAGES if (found := _version(name))}
    table = html.table("As this page was written.", ("", ""), [(k, str(v)) for k, v in facts.items()], kind="facts")
    again = _command(study, plan)
    best = shlex.join(["python", "-m", "search.retrain", "--trial", "best", "--study", study.study_name])
    return (
        html.paragraph("A study of the same plan, and the training of its best trial in full:")
        + html.block(f"{again}\n{best}")
        + html.note(
            "The plan is in the options, so that another machine keeps it too. The number of workers is not stored: "
            "add --workers where it was given. With one worker, --deterministic and the same hardware, equal seeds "
            "give equal trials."
        )
        + f"<div class=after>{table}</div>"
    )


def _command(study: optuna.Study, plan: Plan) -> str:
    held = study.user_attrs
    limits = plan.param_budgets or tuple(filter(None, (plan.param_budget,)))
    options: dict[str, object] = {
        "space": held.get(SPACE),
        "study": f"{study.study_name}-again",
        "data": held.get(SOURCE),
        "seed": held.get(SEED),
        "sampler": held.get(SAMPLER),
        "pruner": held.get(PRUNER),
        "min-epochs": plan.min_epochs,
        "max-epochs": plan.max_epochs,
        "eta": plan.eta,
        "trials": len(study.get_trials(deepcopy=False)),
    }
    if plan.train_size:
        options |= {"train-size": plan.train_size, "val-size": plan.val_size, "mac-budget": plan.mac_budget or 0}
    if limits:
        options["param-budget"] = ",".join(map(str, limits))
    words = [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
    return shlex.join(["python", "-m", "search.run", *words])


def _version(package: str) -> str:
    """The installed version; empty where a package is not installed under its name."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
