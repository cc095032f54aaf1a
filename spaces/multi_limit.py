"""Several parameter limits in one study: each trial draws one of them and keeps it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from typing import Any

from optuna.trial import BaseTrial, FixedTrial

from cifar.candidate import fingerprint
from spaces.base import (
    EpochReport,
    Prior,
    Problem,
    Proposal,
    SearchSpace,
    SpaceError,
    TrialContext,
    WarmStart,
    can_resume,
    propose,
)
from spaces.registry import load_space

LIMIT = "param_budget"
"""The Optuna parameter that holds a trial's limit."""


def space_for(reference: str, problem: Problem, limits: Sequence[int] = ()) -> SearchSpace:
    """The space of that name made for the problem or, given several parameter limits, one that searches them all.

    Raises:
        SpaceError: unknown, not importable, or no `SearchSpace`.
        InfeasibleError: no network fits a limit.
    """
    if not limits:
        return load_space(reference, problem)
    return MultiLimitSpace({limit: load_space(reference, replace(problem, param_budget=limit)) for limit in limits})


class MultiLimitSpace(SearchSpace):
    """One space for each parameter limit; a trial's first parameter chooses among them.

    Args:
        spaces: the spaces by limit; all from one reference, so that the first can train what another proposed.
    """

    def __init__(self, spaces: Mapping[int, SearchSpace]) -> None:
        self.spaces = dict(spaces)
        self.first = first = next(iter(self.spaces.values()))
        self.direction, self.uses_images, self.max_epochs = first.direction, first.uses_images, first.max_epochs
        self.param_budget, self.mac_budget = max(self.spaces), first.mac_budget
        self.resumable, self.added = can_resume(first), first.added

    def suggest(self, trial: BaseTrial) -> Proposal:
        """A candidate within the limit that the trial draws.

        Raises:
            SpaceError: the space of that limit proposed a candidate above it.
        """
        limit = int(trial.suggest_categorical(LIMIT, tuple(self.spaces)))
        candidate = propose(self.spaces[limit], trial)
        if candidate.cost is not None and candidate.cost.parameters > limit:
            raise SpaceError(
                f"a space for several --param-budget must propose within each, here {limit:,}",
                got=f"{candidate.cost.parameters:,} parameters",
                remedy="Give one limit, or solve for problem.param_budget as spaces.width.widest does",
            )
        return candidate

    def train(self, candidate: Any, context: TrialContext) -> Iterator[EpochReport]:
        """Trains as the space of any limit does."""
        return self.first.train(candidate, context)

    def warm_starts(self) -> list[WarmStart]:
        """The first known good point of every limit, then the second, and so on; equal candidates once."""
        of_limits = [[(limit, start) for start in space.warm_starts()] for limit, space in self.spaces.items()]
        found: dict[str, WarmStart] = {}
        for limit, start in filter(None, chain.from_iterable(zip_longest(*of_limits))):
            name = f"{start.name}, at most {limit:,} parameters"
            limited = replace(start, name=name, params={LIMIT: limit, **start.params})
            found.setdefault(self._identity(limited), limited)
        return list(found.values())

    def prior(self, passes: float) -> Prior | None:
        """What the priors of all limits agree on; each limit is as likely as another."""
        priors = [space.prior(passes) for space in self.spaces.values()]
        known = [prior for prior in priors if prior is not None]
        if len(known) < len(priors):
            return None
        shared = {k: v for k, v in known[0].point.items() if all(p.point.get(k) == v for p in known)}
        return replace(known[0], point=shared)

    def _identity(self, start: WarmStart) -> str:
        """Equal for warm starts of one candidate; one that leaves parameters to the sampler equals no other."""
        trial = FixedTrial(dict(start.params))
        for key, value in start.attributes.items():
            trial.set_user_attr(key, value)
        try:
            return fingerprint(self.suggest(trial).to_dict())
        except ValueError:  # what FixedTrial raises for a missing parameter
            return start.name
