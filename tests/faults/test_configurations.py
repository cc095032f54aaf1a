"""Random configurations of every built-in space: none is over its limit, and three ways of counting agree."""

from __future__ import annotations

import os
from collections.abc import Callable

import optuna
import pytest
import torch

from cifar.networks.complexity import thop_parameters
from spaces.base import Problem, propose
from spaces.registry import BUILT_IN, load_space

CONFIGURATIONS = int(os.environ.get("FAULT_CONFIGURATIONS", "10000"))
"""Of each space, whose closed form is compared with its limit."""
COUNTED = int(os.environ.get("FAULT_NETWORKS", "10000"))
"""Of them, those that PyTorch and thop count too, on a device that keeps shapes and no weights."""
BUILT = 100
"""Of those, networks that are built with weights."""


@pytest.mark.slow
@pytest.mark.timeout(24 * 3600)
@pytest.mark.parametrize("name", BUILT_IN)
def test_none_is_over_the_limit_and_the_counts_agree(name: str, record_property: Callable[[str, object], None]) -> None:
    space = load_space(name, Problem())
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for number in range(CONFIGURATIONS):
        cost = (candidate := propose(space, study.ask())).cost
        assert cost is not None
        assert cost.parameters <= (space.param_budget or 0)
        assert space.mac_budget is None or cost.macs <= space.mac_budget
        if number < COUNTED:
            with torch.device("cpu" if number < BUILT else "meta"):
                network = candidate.network.build()  # type: ignore[attr-defined]
            assert cost.parameters == sum(p.numel() for p in network.parameters()) == thop_parameters(network)
    record_property("configurations", CONFIGURATIONS)
    record_property("counted by PyTorch and thop too", min(CONFIGURATIONS, COUNTED))
    record_property("built with weights", min(CONFIGURATIONS, COUNTED, BUILT))
