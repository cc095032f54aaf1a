"""Mixes prior, incumbent, model and chance into one sampler's proposals, in the proportions of `sources`."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from cifar.runtime.seeds import derive_seed
from search.engine.neighbourhood import Around, around_prior, mutations
from search.engine.sources import Evidence, Source, evidence, shares
from search.engine.views import Views
from search.planning.plan import Plan
from search.study.attributes import PROPOSED_BY
from search.study.objectives import second_objective
from search.study.trials import maximizes
from spaces.base import Prior


@dataclass(frozen=True)
class Mixture:
    """Proposes around a prior and what was found since.

    It holds no state: a proposal follows from the trial's seed and the trials before.
    """

    prior: Prior
    """Where good candidates are expected."""
    plan: Plan
    """The study's plan."""
    model: Callable[[int], BaseSampler]
    """Makes the learning sampler of a seed."""
    added: Mapping[str, Any]
    """Parameters that earlier trials may lack, see `spaces.base.SearchSpace.added`."""

    def choose(self, study: optuna.Study, before: list[FrozenTrial], seed: int) -> tuple[Source, BaseSampler]:
        """The source of the next proposal, and the sampler that draws from it.

        Args:
            study: tells the objectives.
            before: the study's trials before this one.
            seed: of this proposal.
        """
        found = self._evidence(study, before)
        likely = shares(found, len(self.plan.rungs), enough=self.plan.startup_trials)
        (source,) = random.Random(derive_seed(seed, "source")).choices(list(likely), list(likely.values()))
        return source, self._sampler(source, found, before, seed)

    def _evidence(self, study: optuna.Study, before: list[FrozenTrial]) -> Evidence:
        views = Views(self.plan, maximize=maximizes(study), timed=False, second=second_objective(study))
        seen = [facts.view for facts in views.look(before).counting]
        source_of = {t.number: t.user_attrs[PROPOSED_BY] for t in before if PROPOSED_BY in t.user_attrs}
        return evidence(seen, self.plan.rungs, self.plan.eta, source_of)

    def _sampler(self, source: Source, found: Evidence, before: list[FrozenTrial], seed: int) -> BaseSampler:
        if source is Source.MODEL:
            return self.model(seed)
        if source is Source.UNIFORM:
            return RandomSampler(seed % 2**32)
        if source is Source.PRIOR:
            return around_prior(self.prior, seed)
        incumbent = random.Random(derive_seed(seed, "front")).choice(found.incumbents)
        best = next(t for t in before if t.number == incumbent).params
        generator = random.Random(derive_seed(seed, "incumbent"))
        return Around({**self.added, **best}, mutations(best, generator), generator, around_prior(self.prior, seed))
