"""Which trial is best: the baseline, until another one beats it by more than chance."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import optuna
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from cifar.stats.paired_tests import paired_interval
from search.planning.plan import Plan
from search.reporting.studies.standing_section import level, standing_section, verdict
from search.study.attributes import BASELINE, CANDIDATE, PLAN, RIGHT
from search.study.right_images import only_one_right, packed
from search.study.standing import Standing, choose_trials, standing

IMAGES = 1000
accuracies = st.integers(0, IMAGES).map(lambda right: right / IMAGES)


def stands(
    values: list[float],
    *,
    baseline: int | None = 0,
    images: int = IMAGES,
    sign: int = 1,
    right: list[list[bool]] | None = None,
) -> Standing:
    """Where complete trials of these values stand; `right` are the images that each got right."""
    study = optuna.create_study(direction="maximize" if sign > 0 else "minimize")
    study.set_user_attr(PLAN, asdict(Plan(1, 4, 2, images, images, images, None, None)))
    for number, value in enumerate(values):
        marks: dict[str, object] = {CANDIDATE: {}} | ({BASELINE: True} if number == baseline else {})
        marks |= {RIGHT: packed(right[number])} if right else {}
        study.add_trial(create_trial(value=value, intermediate_values={4: value}, user_attrs=marks))
    found = standing(study)
    assert found is not None
    assert choose_trials(study, "best") == [found.best]
    return found


@settings(max_examples=20)  # each makes a study
@given(st.lists(accuracies, min_size=2, max_size=6))
def test_the_baseline_is_best_until_the_interval_of_the_lead_is_above_0(values: list[float]) -> None:
    found = stands(values)
    assert found.leader.value == max(values)
    assert found.baseline is not None
    assert found.baseline.number == 0
    if found.lead is None:
        assert found.best.number == found.leader.number == 0
    else:
        assert found.lead.interval is not None
        low, high = found.lead.interval
        assert low <= found.lead.difference <= high
        assert found.best is (found.leader if low > 0 else found.baseline)
    assert found.kept == {0, found.leader.number}
    assert verdict(found).endswith(".")
    assert found.leader not in found.level
    assert len(level(found)) == bool(found.level)


def test_one_point_of_a_thousand_images_is_chance_and_ten_are_not() -> None:
    near = stands([0.60, 0.61, 0.50])
    assert near.best.number == 0
    assert [t.number for t in near.level] == [0]
    assert verdict(near) == (
        "Trial 1 is ahead of trial 0, the baseline, by +1.00 points (95 % interval -3.28 to +5.27), "
        "which may be chance: the baseline stays best."
    )
    far = stands([0.60, 0.70, 0.69])
    assert far.best.number == 1
    assert [t.number for t in far.level] == [2]
    assert level(far) == ["Not told apart from trial 1 by 95 % intervals: trial 2."]


def test_more_images_tell_smaller_differences() -> None:
    assert stands([0.60, 0.63], images=1000).best.number == 0
    assert stands([0.60, 0.63], images=10_000).best.number == 1


def test_what_two_trials_both_get_right_does_not_widen_the_interval_of_a_lead() -> None:
    """Seven points of a hundred images: by counts alone the interval holds 0."""
    behind = [image < 50 for image in range(100)]
    ahead = [image < 57 for image in range(100)]
    unpaired, paired = stands([0.50, 0.57], images=100), stands([0.50, 0.57], images=100, right=[behind, ahead])
    assert (unpaired.best.number, paired.best.number) == (0, 1)
    assert paired.lead is not None
    assert paired.lead.interval == paired_interval(0, 7, 100)
    assert "that one of the two trials alone got right" in standing_section(paired).notes[0]
    assert "too wide" in standing_section(unpaired).notes[0]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_images_that_one_of_two_trials_got_right_are_counted_from_their_packed_form(images: list[Any]) -> None:
    first, second = zip(*images, strict=True)
    counts = sum(a and not b for a, b in images), sum(b and not a for a, b in images)
    assert only_one_right(packed(first), packed(second)) == counts


def test_losses_have_no_interval_and_the_better_value_is_best() -> None:
    assert stands([0.5, 0.4, 0.6], images=0, sign=-1).best.number == 1
    found = stands([0.5, 0.6], images=0, sign=-1)
    assert found.best.number == found.leader.number == 0
    assert stands([3.0, 4.0]).best.number == 1  # not accuracies


def test_without_a_baseline_the_leader_is_best() -> None:
    found = stands([0.60, 0.61], baseline=None)
    assert (found.best.number, found.baseline, found.lead) == (1, None, None)
    assert "no baseline was trained in full" in verdict(found)


def test_unfinished_trials_never_beat_the_baseline_and_complete_ones_replace_an_unfinished_baseline() -> None:
    study = optuna.create_study(direction="maximize")
    study.set_user_attr(PLAN, asdict(Plan(1, 4, 2, 1, 1, IMAGES, None, None)))
    assert standing(study) is None
    pruned = TrialState.PRUNED
    study.add_trial(create_trial(state=pruned, value=0.5, intermediate_values={2: 0.5}, user_attrs={BASELINE: True}))
    study.add_trial(create_trial(state=pruned, value=0.9, intermediate_values={2: 0.9}))
    found = standing(study)
    assert found is not None
    assert (found.leader.number, found.best.number, found.comparable, set(found.kept)) == (1, 0, False, set())
    assert verdict(found) == "Trial 0, the baseline, is best as long as no trial is complete."
    study.add_trial(create_trial(value=0.4, intermediate_values={4: 0.4}))
    found = standing(study)
    assert found is not None
    assert (found.best.number, found.baseline, set(found.kept)) == (2, None, {2})
