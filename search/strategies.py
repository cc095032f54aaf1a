"""Samplers and pruners by name."""

from __future__ import annotations

import math
import warnings

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler

from search.plan import Plan


def make_sampler(name: str, seed: int, startup_trials: int) -> BaseSampler:
    """The sampler of that name, one of `search.settings.SAMPLERS`.

    Args:
        name: tpe, random, qmc, gp, cmaes or nsga2.
        seed: in 0..2**32-1.
        startup_trials: random ones before TPE or the Gaussian process learns; counts trials of any origin.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "tpe":
            # group: the space is conditional, and parameters that never occur together are modelled apart
            return optuna.samplers.TPESampler(n_startup_trials=startup_trials, seed=seed, multivariate=True, group=True)
        if name == "random":
            return optuna.samplers.RandomSampler(seed=seed)
        if name == "qmc":
            return optuna.samplers.QMCSampler(seed=seed, warn_independent_sampling=False)
        if name == "gp":
            return optuna.samplers.GPSampler(
                n_startup_trials=startup_trials, seed=seed, warn_independent_sampling=False
            )
        if name == "cmaes":
            return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        return optuna.samplers.NSGAIISampler(seed=seed)


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
