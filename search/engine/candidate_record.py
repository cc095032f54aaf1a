"""What a trial's candidate is and costs, as the study keeps it, and which limits it breaks; and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.trial import FixedTrial, Trial

from cifar.candidate import fingerprint
from search.planning.plan import Plan
from search.settings import StudyError
from search.study.attributes import CANDIDATE, FINGERPRINT, MACS, PARAMETERS, SUMMARY
from spaces.base import Proposal, SearchSpace, propose


def record_candidate(trial: Trial, candidate: Proposal, plan: Plan, second: str | None) -> str:
    """Stores the candidate, its cost, and by how much each limit is kept or broken.

    Args:
        trial: that proposes the candidate.
        candidate: its network and recipe, or what else its space searches.
        plan: the study's limits.
        second: the study's second objective; None where there is one objective.

    Returns:
        Which limits the candidate breaks, in words; empty where it keeps them all.

    Raises:
        StudyError: the second objective needs a cost, which the candidate has not.
    """
    described = candidate.to_dict()
    trial.set_user_attr(CANDIDATE, described)
    trial.set_user_attr(SUMMARY, candidate.summary)
    trial.set_user_attr(FINGERPRINT, fingerprint(described))
    if candidate.cost is None and second in ("parameters", "macs"):
        raise StudyError(
            f"--objective {second} needs candidates with a cost",
            got=f"{type(candidate).__name__} without one",
            remedy="Give them a cost (spaces.base.OwnCandidate.cost), or leave --objective out",
        )
    broken = []
    limits = {PARAMETERS: plan.param_budget, MACS: plan.mac_budget}
    for (name, limit), value in zip(limits.items(), cost_of(candidate), strict=True):
        if value is None:
            continue
        trial.set_user_attr(name, value)
        if limit is not None:
            trial.set_constraint(name, value - limit)
            if value > limit:
                broken.append(f"{value:,} {name} exceed the limit of {limit:,}")
    return "; ".join(broken)


def cost_of(candidate: Proposal) -> tuple[int | None, int | None]:
    """Parameters and multiply-accumulates; None where the candidate has no cost."""
    cost = candidate.cost
    return (None, None) if cost is None else (cost.parameters, cost.macs)


def candidate_of(
    space: SearchSpace, parameters: Mapping[str, Any], attributes: Mapping[str, Any], number: int
) -> Proposal:
    """The candidate that a trial's parameters stand for, without its study."""
    trial = FixedTrial({**space.added, **parameters}, number)
    for key, value in attributes.items():
        trial.set_user_attr(key, value)
    return propose(space, trial)
