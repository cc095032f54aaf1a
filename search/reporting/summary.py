"""A stored trial's candidate in a few words."""

from __future__ import annotations

from optuna.trial import FrozenTrial

from cifar.candidate import Candidate
from cifar.errors import ConfigError
from search.study.attributes import record


def summary_of(trial: FrozenTrial) -> str:
    """The candidate in a few words; empty where none was proposed, or it is one that an older version stored."""
    held = record(trial)
    if held.summary or held.candidate is None:
        return held.summary
    try:  # studies made before trials held their summary
        return Candidate.from_dict(held.candidate, where="candidate").summary
    except ConfigError:  # of a space with a trainer of its own
        return ""
