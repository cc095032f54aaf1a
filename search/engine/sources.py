"""Where a proposal comes from: the prior, the neighbourhood of the incumbent, the model, or anywhere.

As in PriorBand (arXiv 2306.12370), proposals mix what is believed, what was found and pure chance, in proportions that
follow the evidence. Two things differ, since trials here all start at the first rung and the spaces are large.

PriorBand takes a share of 1 / (1 + eta**rung) at random for a trial that starts at this rung, counted from 0, the rest
from the prior. Hyperband's brackets start at every rung and get about as much training each (arXiv 1603.06560);
promotion does the work of all of them from the first rung. So the share here is the mean over the rungs: 0.29 with four
rungs and eta = 2, where the first rung's own would be a half.

PriorBand divides the rest between prior and incumbent by the likelihood of the best configurations under each. With
forty parameters that ratio is next to 0 or next to 1 after a handful of trials, and a model has no such likelihood. So
every source, chance included, is judged by what became of its own proposals: at each rung where eta or more trials
have a value, how many of them are among the best one in eta. The share of a source is its first share times this
success rate, as a multiple of what chance gives. A wrong prior so loses its share within some ten trials, and wins it
back where the incumbent does no better; no share falls to 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from search.engine.promotion import Status, TrialView, best_first
from search.study.fronts import Point, non_dominated

CAUTION = 1.0
"""Successes that every source is credited with, in eta tries: its share begins as if chance had spoken once."""


class Source(StrEnum):
    """Where a proposal comes from; stored in its trial."""

    PRIOR = "prior"
    """Drawn around the prior's point."""
    INCUMBENT = "incumbent"
    """The incumbent with some of its parameters changed."""
    MODEL = "model"
    """The sampler's own proposal, such as TPE's."""
    UNIFORM = "uniform"
    """Drawn anywhere in the space."""


@dataclass(frozen=True)
class Evidence:
    """What trials tell about the sources."""

    eta: int
    """Reduction factor: one in eta is among the best."""
    valued: int
    """Trials with a value at the first rung."""
    incumbents: tuple[int, ...]
    """Number of the best trial at the highest rung where eta or more have a value; with two objectives, of all trials
    of the front there; none without such a rung."""
    tried: Counter[str]
    """Values of each source's trials, over all rungs that count."""
    good: Counter[str]
    """How many of these values are among the best one in eta of their rung."""

    def lift(self, source: Source) -> float:
        """The source's success rate as a multiple of 1 / eta, what chance gives."""
        return self.eta * (self.good[source] + CAUTION) / (self.tried[source] + CAUTION * self.eta)


def evidence(trials: Sequence[TrialView], rungs: Sequence[int], eta: int, source_of: Mapping[int, str]) -> Evidence:
    """Judges the sources by the values of their trials.

    Args:
        trials: as the promotion policy sees them; smaller losses are better.
        rungs: epochs at which trials are compared, rising.
        eta: reduction factor.
        source_of: the source of trials by number; warm starts have none.
    """
    tried: Counter[str] = Counter()
    good: Counter[str] = Counter()
    incumbents: tuple[int, ...] = ()
    for rung in rungs:
        ordered = best_first(trials, rung)
        if len(ordered) < eta:
            break
        incumbents = _front(ordered, rung)
        tried.update(source_of.get(t.number, "") for t in ordered)
        good.update(source_of.get(t.number, "") for t in ordered[: len(ordered) // eta])
    lost = (t for t in trials if t.status is Status.ENDED and rungs[0] not in t.losses)  # diverged
    tried.update(source_of.get(t.number, "") for t in lost)
    return Evidence(eta, sum(rungs[0] in t.losses for t in trials), incumbents, tried, good)


def _front(ordered: Sequence[TrialView], rung: int) -> tuple[int, ...]:
    """Numbers of the trials that none dominates; with one objective, of the first."""
    points = [Point(t.second, -t.losses[rung]) for t in ordered if t.second is not None]
    if len(points) < len(ordered):
        return (ordered[0].number,)
    return tuple(ordered[index].number for index in non_dominated(points))


def chance_share(rungs: int, eta: int) -> float:
    """The first share of proposals from anywhere: the mean of PriorBand's 1 / (1 + eta**rung) over the rungs."""
    return sum(1 / (1 + int(eta**rung)) for rung in range(rungs)) / rungs


def shares(found: Evidence, rungs: int, *, enough: int, prior: bool = True, model: bool = True) -> dict[Source, float]:
    """The probability that the next proposal comes from each source.

    Args:
        found: what the trials tell.
        rungs: how many there are.
        enough: trials with a value from which on the incumbent means something and the model can learn.
        prior: whether there is one.
        model: whether one is asked.
    """
    informed = [Source.PRIOR] if prior else []
    if found.valued >= enough and found.incumbents:
        informed += [Source.INCUMBENT, *[Source.MODEL] * model]
    if not informed:
        return {Source.UNIFORM: 1.0}
    chance = chance_share(rungs, found.eta)
    weights = {source: (1 - chance) / len(informed) * found.lift(source) for source in informed}
    weights[Source.UNIFORM] = chance * found.lift(Source.UNIFORM)
    total = sum(weights.values())
    return {source: weight / total for source, weight in weights.items()}
