"""Which choices mattered: how much each parameter of the space decided whether a trial was among the best.

PED-ANOVA (arXiv 2304.10255) as Optuna has it, which also holds for parameters that only some trials have (arXiv
2601.20800). It compares where the best tenth of the trials lie with where all lie, after one number of epochs: values
of different lengths do not compare.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, create_trial

from search.reporting.studies.rank_correlation import Values

FEWEST_TRIALS = 20
"""Fewest trials at a rung of which importances are given: below that the best tenth is a trial or two."""
ENOUGH_TRIALS = 50
"""Trials that are better compared after a longer training than more trials after a shorter one: the best tenth of them
are five, the fewest that Optuna recommends (documentation of `PedAnovaImportanceEvaluator`)."""
FEWEST_WITH = 10
"""Fewest of these trials that must have a parameter: of a few it would tell where they happened to lie."""


Scale = Literal["linear", "log", "choice"]
"""What a parameter is drawn from: numbers, numbers by their logarithm, or names."""


@dataclass(frozen=True)
class Importance:
    """How much the parameters mattered."""

    rung: int
    """Epochs after which the trials are compared: the highest rung that `ENOUGH_TRIALS` reached, else the first."""
    shares: tuple[tuple[str, float], ...]
    """Share of each parameter that enough trials have, in [0, 1], the largest first; together 1."""
    trials: Mapping[str, int]
    """Number of the compared trials that have each of these parameters."""
    rare: tuple[str, ...]
    """Parameters that fewer than `FEWEST_WITH` of the compared trials have, of which nothing is told."""
    scales: Mapping[str, Scale]
    """Scale of each of these parameters."""
    values: Mapping[int, float]
    """Value of each compared trial after `rung` epochs, as it was reported, by number."""


def importance(trials: Sequence[FrozenTrial], values: Values, rungs: Sequence[int]) -> Importance | None:
    """The importances; None where no rung was reached by enough trials, or there are no parameters.

    Args:
        trials: the study's trials.
        values: their values at the rungs, larger being better.
        rungs: the study's rungs.
    """
    counted = {rung: sum(rung in at for at in values.values()) for rung in rungs}
    rung = max((rung for rung, count in counted.items() if count >= ENOUGH_TRIALS), default=rungs[0])
    if counted[rung] < FEWEST_TRIALS:
        return None
    compared = [trial for trial in trials if rung in values.get(trial.number, ())]
    counts = Counter(name for trial in compared for name in trial.params)
    held = {name: count for name, count in sorted(counts.items()) if count >= FEWEST_WITH}
    if not held:
        return None
    shares = _shares([_at_rung(trial, values[trial.number][rung]) for trial in compared], list(held))
    scales = {name: _scale(distribution) for trial in compared for name, distribution in trial.distributions.items()}
    reported = {trial.number: trial.intermediate_values[rung] for trial in compared}
    rare = tuple(sorted(counts.keys() - held.keys()))
    return Importance(rung, tuple(shares.items()), held, rare, scales, reported)


def _scale(distribution: BaseDistribution) -> Scale:
    if isinstance(distribution, CategoricalDistribution):
        return "choice"
    return "log" if getattr(distribution, "log", False) else "linear"


def _shares(trials: Sequence[FrozenTrial], names: list[str]) -> dict[str, float]:
    """Importances by name, the largest first."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize")
        study.add_trials(trials)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of too few trials: equal shares say as much
            return get_param_importances(study, evaluator=PedAnovaImportanceEvaluator(), params=names)
    finally:
        optuna.logging.set_verbosity(verbosity)


def _at_rung(trial: FrozenTrial, value: float) -> FrozenTrial:
    """The trial as if it had ended at the rung."""
    return create_trial(params=trial.params, distributions=trial.distributions, value=value)
