"""Mixes prior, incumbent, model and chance into one sampler's proposals, in the proportions of `sources`."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial

from cifar.runtime.seeds import derive_seed
from search.engine.neighbourhood import Around, mutations
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

    A proposal follows from the trial's seed and the trials before: what is kept from one to the next only saves time.
    """

    prior: Prior
    """Where good candidates are expected."""
    plan: Plan
    """The study's plan."""
    model: Callable[[int], BaseSampler]
    """Makes the learning sampler of a seed."""
    added: Mapping[str, Any]
    """Parameters that earlier trials may lack, see `spaces.base.SearchSpace.added`."""
    known: list[Views] = field(default_factory=list, compare=False, repr=False)
    """What was worked out of the trials so far; one or none."""

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
        if not self.known or len(self.known[0].trials) > len(before):
            views = Views(self.plan, maximize=maximizes(study), timed=False, second=second_objective(study))
            self.known[:] = [views]
        seen = [facts.view for facts in self.known[0].look(before).counting]
        source_of = {t.number: t.user_attrs[PROPOSED_BY] for t in before if PROPOSED_BY in t.user_attrs}
        return evidence(seen, self.plan.rungs, self.plan.eta, source_of)

    def _sampler(self, source: Source, found: Evidence, before: list[FrozenTrial], seed: int) -> BaseSampler:
        if source is Source.MODEL:
            return self.model(seed)
        if source is Source.UNIFORM:
            return RandomSampler(seed % 2**32)
        around_prior = self.around_prior(seed)
        if source is Source.PRIOR:
            return around_prior
        incumbent = random.Random(derive_seed(seed, "front")).choice(found.incumbents)
        best = next(t for t in before if t.number == incumbent).params
        generator = random.Random(derive_seed(seed, "incumbent"))
        return Around({**self.added, **best}, mutations(best, generator), generator, around_prior)

    def around_prior(self, seed: int) -> BaseSampler:
        """Draws around the prior's point, and anywhere what the point lacks."""
        generator = random.Random(derive_seed(seed, "prior"))
        return Around(
            self.prior.point, lambda name, _: self.prior.spread_of(name), generator, RandomSampler(seed % 2**32)
        )
