"""Optuna's pruners by name, on a plan's rungs."""

from __future__ import annotations

import math

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner

from search.planning.plan import Plan


def make_pruner(name: str, plan: Plan) -> BasePruner:
    """The pruner of that name, one of `search.settings.PRUNERS`, on the plan's rungs."""
    if name == "hyperband":
        return HyperbandPruner(plan.min_epochs, _hyperband_max(plan), plan.eta)
    if name == "successive_halving":
        return SuccessiveHalvingPruner(plan.min_epochs, plan.eta)
    if name == "median":
        return MedianPruner(n_warmup_steps=plan.min_epochs)
    return NopPruner()


def _hyperband_max(plan: Plan) -> int:
    """R as Optuna needs it: its floored logarithm loses a bracket where R / r is a power of eta, as at 243 / 3."""
    brackets = 1
    while plan.min_epochs * plan.eta**brackets <= plan.max_epochs:
        brackets += 1
    counted = math.floor(math.log(plan.max_epochs / plan.min_epochs, plan.eta)) + 1
    return plan.max_epochs if counted == brackets else plan.max_epochs + 1
