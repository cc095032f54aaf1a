"""Optuna's samplers by name, and how they are asked."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from cifar.runtime.seeds import derive_seed
from search.engine.mixture import Mixture
from search.engine.sampler_view import MOST_SHOWN, AsOrdered, AsReached
from search.planning.plan import Plan
from search.settings import SearchSettings
from search.study.attributes import PROPOSED_BY, REPEAT_OF
from search.study.objectives import second_objective
from search.study.optuna_internals import set_attribute, storage_of, was_queued
from search.study.study import seed_of
from search.study.trials import maximizes
from spaces.base import Prior

SEQUENCES = ("qmc",)  # samplers whose proposals follow from one seed and the number of the trial
LEARNING = ("tpe", "gp")  # samplers that may be misled by the values of short runs
RANDOM_SHARE = 0.25
"""Share of proposals that are random; BOHB takes a third (https://automl.github.io/HpBandSter, `random_fraction`)."""


def use_sampler(
    study: optuna.Study,
    settings: SearchSettings,
    plan: Plan,
    prior: Prior | None = None,
    added: Mapping[str, Any] | None = None,
) -> None:
    """Gives the study the sampler that the settings name.

    Args:
        study: whose trials are to be proposed.
        settings: names the sampler; one that learns proposes around the prior too.
        plan: the study's plan.
        prior: where good candidates are expected; None where nothing is known.
        added: parameters that earlier trials may lack, see `SearchSpace.added`.
    """
    learns, pauses = settings.sampler in LEARNING, settings.pruner == "promotion"

    def make(seed: int) -> BaseSampler:
        return make_sampler(settings.sampler, seed % 2**32, plan.startup_trials)

    study.sampler = FreshSampler(
        make,
        seed_of(study, settings),
        same_seed=settings.sampler in SEQUENCES,
        wary=pauses and learns,
        rungs=plan.rungs if pauses else (),
        ladder=plan.rungs,
        most=MOST_SHOWN if learns else None,
        mixture=Mixture(prior, plan, make, added or {}) if prior and learns else None,
    )


class FreshSampler(BaseSampler):
    """Asks a sampler that is made for each trial, with a seed of its own, and shows it what trials reached so far.

    A proposal then follows from the study's seed, the trial's number and the trials before: a study that is continued
    does not draw again what it drew before.

    Args:
        make: makes the sampler of a seed.
        seed: the study's seed.
        same_seed: whether all trials take the study's seed.
        wary: without a mixture, whether to propose at random after a proposal that repeated an earlier one, and
            `RANDOM_SHARE` of the time besides.
        rungs: epochs at which trials pause; those that have not ended are shown as pruned at the last one.
        ladder: epochs at which the trials of a study of two objectives are put in order, whether or not they pause.
        most: trials that the sampler sees of a study of one objective; None is all.
        mixture: proposes around a prior and the incumbent too.
    """

    def __init__(
        self,
        make: Callable[[int], BaseSampler],
        seed: int,
        *,
        same_seed: bool = False,
        wary: bool = False,
        rungs: Sequence[int] = (),
        ladder: Sequence[int] = (),
        most: int | None = None,
        mixture: Mixture | None = None,
    ) -> None:
        self.make, self.seed, self.same_seed, self.wary = make, seed, same_seed, wary
        self.rungs, self.ladder, self.most, self.mixture = rungs, ladder, most, mixture
        self.shown: dict[int, tuple[FrozenTrial, FrozenTrial]] = {}
        self.number, self.inner = -1, make(seed)  # the trial that is being proposed, and its sampler
        self.seen: optuna.Study | None = None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        inner, seen = self._for(study, trial)
        return inner.infer_relative_search_space(seen, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        inner, seen = self._for(study, trial)
        return inner.sample_relative(seen, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        inner, seen = self._for(study, trial)
        return inner.sample_independent(seen, trial, param_name, param_distribution)

    def _for(self, study: optuna.Study, trial: FrozenTrial) -> tuple[BaseSampler, optuna.Study]:
        """The sampler of this trial and what it sees of the study, both made once a trial."""
        if trial.number != self.number or self.seen is None:
            self.number, self.inner = trial.number, self._sampler(study, trial)
            self.seen = optuna.Study(study.study_name, self._view(study))
        return self.inner, self.seen

    def _view(self, study: optuna.Study) -> BaseStorage:
        """The study's storage as a sampler is to see it."""
        storage, second = storage_of(study), second_objective(study)
        if second is None:
            return AsReached(storage, self.rungs, self.shown, most=self.most, maximize=maximizes(study))
        return AsOrdered(AsReached(storage, self.rungs, self.shown), self.ladder, second, maximize=maximizes(study))

    def _sampler(self, study: optuna.Study, trial: FrozenTrial) -> BaseSampler:
        """The sampler of this trial; the study notes where a proposal of the mixture comes from."""
        seed = self.seed if self.same_seed else derive_seed(self.seed, "sampler", trial.number)
        before = [t for t in study.get_trials(deepcopy=False) if t.number < trial.number]
        repeated = bool(before) and REPEAT_OF in before[-1].user_attrs  # the model repeats itself
        if self.mixture is None:
            at_random = self.wary and (repeated or random.Random(seed).random() < RANDOM_SHARE)
            return RandomSampler(seed % 2**32) if at_random else self.make(seed)
        if was_queued(trial) or repeated:
            return self.mixture.around_prior(seed)
        source, sampler = self.mixture.choose(study, before, seed)
        set_attribute(study, trial, PROPOSED_BY, source.value)
        return sampler


def make_sampler(name: str, seed: int, startup_trials: int) -> BaseSampler:
    """The sampler of that name, one of `search.settings.SAMPLERS`.

    Args:
        name: tpe, random, qmc, gp, cmaes or nsga2.
        seed: seed in 0..2**32-1.
        startup_trials: random ones before TPE or the Gaussian process learns; counts trials of any origin.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "tpe":
            # group: the space is conditional, and parameters that never occur together are modelled separately
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
