"""Trials that were stored before the space gained parameters still stand for the same candidates.

`stored_trials.jsonl` was written by the space of commit 9d1dc64: parameters, distributions
and fingerprint of random proposals and of every warm start.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import json_to_distribution
from optuna.trial import create_trial

from cifar.candidate import fingerprint
from search.engine.candidate_record import candidate_of
from spaces.base import Problem
from spaces.multi_limit import LIMIT, MultiLimitSpace
from spaces.resnet_budget5m import ResNetSpace

STORED = [json.loads(line) for line in Path(__file__).with_name("stored_trials.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("stored", STORED)
def test_a_stored_trial_is_the_same_candidate(stored: dict[str, Any]) -> None:
    space = ResNetSpace(Problem())
    candidate = candidate_of(space, stored["params"], stored["attributes"], 0)
    assert fingerprint(candidate.to_dict()) == stored["fingerprint"]
    several = MultiLimitSpace({5_000_000: space})
    assert candidate_of(several, {LIMIT: 5_000_000, **stored["params"]}, stored["attributes"], 0) == candidate


def test_a_stored_study_continues_with_the_new_parameters() -> None:
    """Optuna refuses a parameter whose choices have changed."""
    space, study = ResNetSpace(Problem()), optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for stored in STORED:
        known = {name: json_to_distribution(text) for name, text in stored["distributions"].items()}
        study.add_trial(create_trial(value=0.0, params=stored["params"], distributions=known))
    candidates = [space.suggest(study.ask()) for _ in range(30)]
    assert all(space.limits.allow(candidate.cost) for candidate in candidates)
    assert {candidate.network.kind for candidate in candidates} == {"resnet", "fast_resnet"}
