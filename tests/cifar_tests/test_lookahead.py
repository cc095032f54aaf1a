"""Lookahead's arithmetic: what the slow weights are, when the network takes them, and how much they remember."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cifar.lookahead import POWER, Lookahead

pytestmark = pytest.mark.usefixtures("one_thread")


class OneWeight(nn.Module):
    """A network of one number, moved by hand."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(value))

    def move(self, by: float) -> None:
        with torch.no_grad():
            self.weight.add_(by)


@given(
    st.lists(st.floats(-2, 2), min_size=1, max_size=30),
    st.integers(1, 7),
    st.floats(0, 0.999),
    st.floats(0, 1),
)
@settings(max_examples=80, deadline=None)
def test_slow_weights_are_a_decaying_average_of_those_at_each_look_back(
    moves: list[float], every: int, decay: float, progress: float
) -> None:
    network = OneWeight(1.0)
    lookahead = Lookahead(network, every, decay)
    slow = fast = 1.0
    for start in range(0, len(moves), every):
        part = moves[start : start + every]
        for by in part:
            network.move(by)
            lookahead.step(progress)
        if len(part) < every:
            lookahead.look_back(progress)  # the end of an epoch
        kept = decay ** len(part) * progress**POWER
        fast = slow = kept * slow + (1 - kept) * (fast + sum(part))
    assert network.weight.item() == pytest.approx(fast, abs=1e-4)


def test_between_two_looks_back_the_network_is_its_own() -> None:
    network = OneWeight(0.0)
    lookahead = Lookahead(network, every=3, decay=0.5)
    for expected in (1.0, 2.0):
        network.move(1.0)
        lookahead.step(progress=1.0)
        assert network.weight.item() == expected
    network.move(1.0)
    lookahead.step(progress=1.0)
    assert network.weight.item() == pytest.approx(3 * (1 - 0.5**3))


def test_at_the_start_of_a_run_nothing_is_held_back() -> None:
    network = OneWeight(0.1)
    lookahead = Lookahead(network, every=1, decay=0.95)
    network.move(0.2)
    before = network.weight.item()
    lookahead.step(progress=0.0)
    assert network.weight.item() == before


def test_a_look_back_without_a_step_changes_nothing() -> None:
    network = OneWeight(1.0)
    lookahead = Lookahead(network, every=2, decay=0.9)
    network.move(1.0)
    lookahead.look_back(progress=1.0)
    before = network.weight.item()
    lookahead.look_back(progress=1.0)
    assert network.weight.item() == before


def test_batch_norm_statistics_take_part_and_counts_do_not() -> None:
    network = nn.BatchNorm1d(2)
    lookahead = Lookahead(network, every=1, decay=0.5)
    assert network.running_mean is not None
    assert network.num_batches_tracked is not None
    network.running_mean.fill_(1.0)
    network.num_batches_tracked.fill_(7)
    lookahead.step(progress=1.0)
    assert network.running_mean.tolist() == [0.5, 0.5]
    assert network.num_batches_tracked.item() == 7


def test_after_a_restart_the_slow_weights_are_the_networks() -> None:
    network = OneWeight(1.0)
    lookahead = Lookahead(network, every=2, decay=0.9)
    network.load_state_dict({"weight": torch.tensor(5.0)})
    lookahead.restart()
    lookahead.step(progress=1.0)
    lookahead.step(progress=1.0)
    assert network.weight.item() == pytest.approx(5.0)
