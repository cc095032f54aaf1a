"""The sampler `surrogate`: a Gaussian process over all trials says which of many candidates promises most.

All trials stand in one order: by their values at the first rung; those that reached the next one are then put in order
among themselves by their values there, at the places that they hold together, and so on up. So every trial counts from
its first rung on, the more reliable value decides where there is one, and values of different rungs are never compared.
The process learns normal scores of these places, which neither a scale of the values nor one that exploded can upset
(arXiv 1909.13595 scores so for the same reason). Trials in the worse half all have the same score: in which order the
bad ones stand tells nothing about the best.

Most candidates are drawn around the best trials, the others around the prior, or anywhere where there is none. Proposed
is the one of the largest expected improvement that no trial has had. Which parameters a candidate has is taken from an
earlier trial; if the space then asks for another one, it is drawn around the prior, too.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.engine.encoding import Encoding, distributions_of
from search.engine.gaussian_process import Array, GaussianProcess, expected_improvement
from search.engine.neighbourhood import MUTATION_SPREAD, Around, around_prior
from search.study.trials import is_feasible
from spaces.base import Prior

CANDIDATES = 400
"""Drawn for a proposal."""
NEAR_SHARE = 0.9
"""Share of candidates that are drawn around the best trials."""
BEST = 5
"""Trials that candidates are drawn around."""
MOST_TRIALS = 100
"""Trials that the process learns from: the better half of them are the best, the others any. Its time grows as their
number cubed."""


class Surrogate(BaseSampler):
    """Proposes one trial.

    Args:
        seed: of this proposal.
        rungs: epochs at which trials are compared, rising.
        startup: trials with a value below which it is drawn around the prior, or anywhere.
        prior: where good candidates are expected; None where nothing is known.
        added: parameters that earlier trials may lack, see `SearchSpace.added`.
    """

    def __init__(
        self, seed: int, rungs: Sequence[int], startup: int, prior: Prior | None, added: Mapping[str, Any]
    ) -> None:
        self.seed, self.rungs, self.startup, self.prior, self.added = seed, rungs, startup, prior, added
        self.proposal: BaseSampler | None = None

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if self.proposal is None:
            self.proposal = self._propose(study, trial.number)
        return self.proposal.sample_independent(study, trial, param_name, param_distribution)

    def _propose(self, study: optuna.Study, number: int) -> BaseSampler:
        elsewhere, generator = around_prior(self.prior, self.seed), random.Random(self.seed)
        trials = [t for t in study.get_trials(deepcopy=False) if t.number < number and t.params]
        sign = 1.0 if study.direction is StudyDirection.MINIMIZE else -1.0
        losses = {t.number: _losses(t, self.rungs, sign) for t in trials if is_feasible(t)}
        if sum(map(bool, losses.values())) < max(2, self.startup):
            return elsewhere
        return Around(self._most_promising(trials, losses), lambda name, _: 0.0, generator, elsewhere)

    def _most_promising(
        self, trials: Sequence[FrozenTrial], losses: Mapping[int, Mapping[int, float]]
    ) -> dict[str, Any]:
        """The parameters of the best of many candidates."""
        generator = np.random.default_rng(self.seed)
        encoding = Encoding(distributions_of(trials))
        pending = [t for t in trials if t.state is TrialState.RUNNING and not losses.get(t.number)]
        lacking = {t.number for t in pending} | {t.number for t in trials if t.state is TrialState.FAIL}
        known = [t for t in trials if t.number not in lacking]
        order = ordered([losses.get(t.number, {}) for t in known], self.rungs)
        places, scores = _informative(len(order), generator)
        rows = self._rows(encoding, [known[order[place]] for place in places])
        points, candidates = encoding.columns(rows), self._candidates(encoding, rows, generator)
        process = GaussianProcess(points, scores, encoding.groups)
        waiting = encoding.columns(self._rows(encoding, pending)) if pending else None
        mean, deviation = process.predict(encoding.columns(candidates), waiting)
        best = float(process.predict(points)[0].min())
        promising = np.argsort(-expected_improvement(mean, deviation, best), kind="stable")
        proposals, tried = (encoding.params(candidates[i]) for i in promising), [t.params for t in trials]
        return next((one for one in proposals if one not in tried), encoding.params(candidates[promising[0]]))

    def _rows(self, encoding: Encoding, trials: Sequence[FrozenTrial]) -> Array:
        return np.array([encoding.row({**self.added, **t.params}) for t in trials])

    def _candidates(self, encoding: Encoding, rows: Array, generator: np.random.Generator) -> Array:
        """Rows to choose from; `rows` are those of earlier trials, best first."""
        count = round(NEAR_SHARE * CANDIDATES)
        near = _mutated(encoding, rows[generator.integers(min(BEST, len(rows)), size=count)], generator)
        like = rows[generator.integers(len(rows), size=CANDIDATES - count)]
        anywhere = _anywhere(encoding, like.shape, generator)
        if self.prior is not None:
            point = encoding.row(self.prior.point)
            spread = np.array([self.prior.spread_of(name) for name in encoding.names])
            around = _near(encoding, np.broadcast_to(point, like.shape), spread, generator)
            anywhere = np.where(np.isnan(around), anywhere, around)
        return np.concatenate([near, np.where(np.isnan(like), np.nan, anywhere)])


def ordered(losses: Sequence[Mapping[int, float]], rungs: Sequence[int]) -> list[int]:
    """Indices of trials, best first, by their losses at the rungs that they reached; those without any are last."""
    order = sorted(range(len(losses)), key=lambda i: (losses[i].get(rungs[0], math.inf), i))
    for rung in rungs[1:]:
        places = [place for place, i in enumerate(order) if rung in losses[i]]
        again = sorted((order[place] for place in places), key=lambda i: (losses[i][rung], i))
        for place, i in zip(places, again, strict=True):
            order[place] = i
    return order


def _losses(trial: FrozenTrial, rungs: Sequence[int], sign: float) -> dict[int, float]:
    values = trial.intermediate_values
    return {rung: sign * values[rung] for rung in rungs if math.isfinite(values.get(rung, math.nan))}


def _informative(count: int, generator: np.random.Generator) -> tuple[list[int], Array]:
    """Places of the trials to learn from, of so many, rising; and their scores, of which smaller are better."""
    scores = np.array([min(0.0, NormalDist().inv_cdf((place + 0.5) / count)) for place in range(count)])
    if count <= MOST_TRIALS:
        return list(range(count)), scores
    half = MOST_TRIALS // 2
    others = half + np.sort(generator.choice(count - half, MOST_TRIALS - half, replace=False))
    places = [*range(half), *others.tolist()]
    return places, scores[places]


def _mutated(encoding: Encoding, rows: Array, generator: np.random.Generator) -> Array:
    """Rows with some of their entries changed, from one to all, with a density that falls as 1 / number."""
    share = np.exp(generator.uniform(-np.log(max(2, rows.shape[1])), 0, size=(len(rows), 1)))
    draws = np.where(np.isnan(rows), np.inf, generator.random(rows.shape))
    changed = draws <= np.maximum(share, draws.min(axis=1, keepdims=True))  # one at least
    spread = np.where(encoding.choices > 0, 1.0, MUTATION_SPREAD)
    return np.where(changed, _near(encoding, rows, spread, generator), rows)


def _near(encoding: Encoding, rows: Array, spread: Array, generator: np.random.Generator) -> Array:
    """Rows whose entries lie around given ones; see `search.engine.neighbourhood.draw` for what a spread is."""
    moved = (rows + spread * generator.standard_normal(rows.shape)) % 2
    numbers = np.where(moved > 1, 2 - moved, moved)  # reflected at the ends
    others = (rows + generator.integers(1, np.maximum(encoding.choices, 2), size=rows.shape)) % np.maximum(
        encoding.choices, 1
    )
    choices = np.where(generator.random(rows.shape) < spread, others, rows)
    return np.where(encoding.choices > 0, choices, numbers)


def _anywhere(encoding: Encoding, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Rows drawn uniformly."""
    drawn = generator.random(shape)
    return np.where(encoding.choices > 0, np.floor(drawn * encoding.choices), drawn)
