"""The proportions of prior, incumbent, model and chance follow what became of their proposals."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.engine.promotion import Status, TrialView
from search.engine.sources import Evidence, Source, chance_share, evidence, shares

RUNGS = (1, 2, 4, 8)


def views_of(*losses: float, first: int = 0) -> list[TrialView]:
    """Trials that paused at the first rung with these losses."""
    return [TrialView(first + i, Status.PAUSED, 1, {1: loss}) for i, loss in enumerate(losses)]


def no_evidence(valued: int = 0, *incumbents: int) -> Evidence:
    return Evidence(2, valued, incumbents, Counter(), Counter())


def test_the_share_of_chance_is_the_mean_of_priorbands_over_the_rungs() -> None:
    assert chance_share(1, 3) == 1 / 2
    assert chance_share(4, 2) == pytest.approx((1 / 2 + 1 / 3 + 1 / 5 + 1 / 9) / 4)


def test_without_values_the_prior_and_chance_propose() -> None:
    assert shares(no_evidence(), 4, enough=5) == pytest.approx({Source.PRIOR: 0.714, Source.UNIFORM: 0.286}, abs=1e-3)
    assert set(shares(no_evidence(4, 1), 4, enough=5)) == {Source.PRIOR, Source.UNIFORM}


def test_with_enough_values_incumbent_and_model_propose_as_often_as_the_prior() -> None:
    found = shares(no_evidence(5, 1), 4, enough=5)
    assert found[Source.PRIOR] == found[Source.INCUMBENT] == found[Source.MODEL] == pytest.approx(0.238, abs=1e-3)


def test_sources_that_there_are_not_propose_nothing() -> None:
    assert shares(no_evidence(), 4, enough=5, prior=False) == {Source.UNIFORM: 1.0}
    found = shares(no_evidence(5, 1), 4, enough=5, prior=False, model=False)
    assert found == pytest.approx({Source.INCUMBENT: 0.714, Source.UNIFORM: 0.286}, abs=1e-3)


def test_the_best_one_in_eta_of_a_rung_are_good() -> None:
    of = dict.fromkeys(range(3), "prior") | dict.fromkeys(range(3, 6), "uniform")
    found = evidence(views_of(0.5, 0.1, 0.2, 0.9, 0.3, 0.8), RUNGS, 2, of)
    assert (found.valued, found.incumbents) == (6, (1,))
    assert (found.tried["prior"], found.good["prior"]) == (3, 2)
    assert (found.tried["uniform"], found.good["uniform"]) == (3, 1)
    assert found.lift(Source.PRIOR) == 2 * (2 + 1) / (3 + 2)


def test_the_incumbent_is_the_best_of_the_highest_rung_that_compares() -> None:
    promoted = [TrialView(10, Status.PAUSED, 2, {1: 0.1, 2: 0.4}), TrialView(11, Status.PAUSED, 2, {1: 0.2, 2: 0.3})]
    assert evidence([*views_of(0.5, 0.05), *promoted], RUNGS, 2, {}).incumbents == (11,)
    one = evidence([*views_of(0.5, 0.05), promoted[0]], RUNGS, 2, {})
    assert one.incumbents == (1,)  # one value compares with none
    assert evidence(views_of(0.5), RUNGS, 2, {}).incumbents == ()


def test_a_prior_trained_in_full_first_is_no_incumbent_by_that_alone() -> None:
    full = TrialView(9, Status.ENDED, 8, dict.fromkeys(RUNGS, 0.5))
    assert evidence([full, *views_of(0.4, 0.6, 0.7)], RUNGS, 2, {}).incumbents == (0,)


def test_a_trial_that_diverged_counts_as_tried() -> None:
    lost = TrialView(7, Status.ENDED, 1, {})
    cut_off = TrialView(8, Status.PAUSED, 0, {})  # by a deadline, before the first rung
    running = TrialView(9, Status.RUNNING, 1, {})
    found = evidence([*views_of(0.5, 0.6), lost, cut_off, running], RUNGS, 2, {7: "prior", 8: "prior", 9: "prior"})
    assert (found.tried["prior"], found.good["prior"]) == (1, 0)


def test_what_was_queued_is_nobodys() -> None:
    found = evidence(views_of(0.5, 0.6, 0.7, 0.8), RUNGS, 2, {})
    assert {found.lift(source) for source in Source} == {1.0}


@given(
    st.integers(2, 4),
    st.integers(1, 6),
    st.lists(st.tuples(st.sampled_from(list(Source)), st.floats(0, 1)), max_size=60),
    st.integers(0, 10),
)
def test_shares_are_probabilities_and_none_is_zero(
    eta: int, rungs: int, trials: list[tuple[Source, float]], enough: int
) -> None:
    losses = [loss for _, loss in trials]
    of = {i: source.value for i, (source, _) in enumerate(trials)}
    found = evidence(views_of(*losses), [2**k for k in range(rungs)], eta, of)
    probabilities = shares(found, rungs, enough=enough)
    assert sum(probabilities.values()) == pytest.approx(1)
    assert min(probabilities.values()) > 1 / (20 * (len(trials) + eta))
    assert set(probabilities) >= {Source.PRIOR, Source.UNIFORM}


@pytest.mark.parametrize("wrong", [Source.PRIOR, Source.MODEL])
def test_a_source_whose_proposals_fail_loses_its_share(wrong: Source) -> None:
    of = {i: (wrong if i % 2 else Source.INCUMBENT).value for i in range(20)}
    found = evidence(views_of(*(0.9 if i % 2 else 0.1 for i in range(20))), RUNGS, 2, of)
    probabilities = shares(found, 4, enough=5)
    assert probabilities[wrong] < 0.06
    assert probabilities[Source.INCUMBENT] > 0.4
