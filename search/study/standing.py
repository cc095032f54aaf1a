"""Which trial of a study is best: the baseline, until another one beats it by more than chance.

The leader is the complete trial with the best value. Chosen among many by that same value, it looks better than it is,
so it replaces the baseline only where the 95 % interval of its lead is above 0. The interval counts the validation
images that one of the two trials alone got right (`cifar.stats.paired_tests.paired_interval`). It leaves out how far
another seed of training would move either value, and that the leader was chosen among several, for which it is too
narrow. In studies made before trials kept which images they got right, it takes both trials' counts as independent
samples (`cifar.stats.intervals.difference_interval`), which is too wide, since the images are the same. Where values
are no accuracies, or there are no validation images, there is no interval, and the leader is best as soon as its value
is.
"""

from __future__ import annotations

from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from cifar.stats.intervals import difference_interval
from cifar.stats.paired_tests import paired_interval
from search.settings import StudyError
from search.study.attributes import BASELINE, CANDIDATE, RIGHT
from search.study.objectives import front_trials, second_objective
from search.study.right_images import only_one_right
from search.study.study import stored_plan
from search.study.trials import maximizes, ranked, value_of


@dataclass(frozen=True)
class Lead:
    """How far a complete trial is ahead of another one."""

    difference: float
    """Value of the trial less that of the other; its sign is turned where smaller is better."""
    interval: tuple[float, float] | None
    """95 % interval of the difference of two accuracies; None where values are no accuracies."""
    paired: bool = False
    """Whether the interval compares image by image."""

    @property
    def shown(self) -> bool:
        """Whether the trial is better by more than chance."""
        return (self.difference if self.interval is None else self.interval[0]) > 0


@dataclass(frozen=True)
class Standing:
    """Where the trials of a study stand."""

    leader: FrozenTrial
    """The trial with the best value; complete if any is."""
    baseline: FrozenTrial | None
    """The complete baseline, or the unfinished one while no trial is complete; None without one."""
    lead: Lead | None
    """The leader's lead over the baseline; None without one, where it leads itself, or while no trial is complete."""
    level: tuple[FrozenTrial, ...]
    """Complete trials that cannot be told from the leader, best first, without the leader."""

    @property
    def best(self) -> FrozenTrial:
        """The trial that is best: the baseline, unless the leader beats it by more than chance."""
        if self.baseline is None or (self.lead is not None and self.lead.shown):
            return self.leader
        return self.baseline

    @property
    def comparable(self) -> bool:
        """Whether the baseline is complete, so that its value can be compared."""
        return self.baseline is not None and self.baseline.state is TrialState.COMPLETE

    @property
    def kept(self) -> frozenset[int]:
        """Numbers of the complete trials whose weights are kept: leader and baseline, one of which is best."""
        trials = (self.leader, self.baseline)
        return frozenset(t.number for t in trials if t is not None and t.state is TrialState.COMPLETE)


def standing(study: optuna.Study) -> Standing | None:
    """Where the trials of a study stand; None where none has a value yet.

    Raises:
        StudyError: the study was not made by `search.run`.
    """
    trials = ranked(study)
    if not trials:
        return None
    leader, complete = trials[0], [t for t in trials if t.state is TrialState.COMPLETE]
    maximize, images = maximizes(study), stored_plan(study).val_limit

    def lead_over(other: FrozenTrial) -> Lead:
        difference = _value(leader) - _value(other)
        return _lead(other, leader, difference, images) if maximize else Lead(-difference, None)

    baseline = next((t for t in complete or trials if BASELINE in t.user_attrs), None)
    lead = None if baseline is None or baseline is leader or not complete else lead_over(baseline)
    return Standing(leader, baseline, lead, tuple(t for t in complete if t is not leader and not lead_over(t).shown))


def _lead(other: FrozenTrial, leader: FrozenTrial, difference: float, images: int) -> Lead:
    """A lead with its interval; without, unless both values are accuracies on so many images."""
    values = (_value(other), _value(leader))
    if not images or not all(0 <= value <= 1 for value in values):
        return Lead(difference, None)
    if RIGHT in other.user_attrs and RIGHT in leader.user_attrs:
        counts = only_one_right(other.user_attrs[RIGHT], leader.user_attrs[RIGHT])
        return Lead(difference, paired_interval(*counts, images), paired=True)
    first, second = (round(value * images) for value in values)
    return Lead(difference, difference_interval(first, second, images, images))


def _value(trial: FrozenTrial) -> float:
    value = value_of(trial)
    assert value is not None  # of every trial that is ranked
    return value


def choose_trials(study: optuna.Study, wanted: str) -> list[FrozenTrial]:
    """The trials that `best`, a number, `top-K` or `front` names; `top-K` goes by value alone.

    Raises:
        StudyError: not one of these forms, no such trial, or none with a value yet.
    """
    if wanted == "front":
        return _front(study)
    if wanted.isdecimal():
        begun = [t for t in study.get_trials(deepcopy=False) if CANDIDATE in t.user_attrs]
        found = [t for t in begun if t.number == int(wanted)]
        if not found:
            raise StudyError(
                f"--trial must be one of the study's {len(begun)} trials", got=wanted, remedy="See its trials.csv"
            )
        return found
    kind, _, number = wanted.partition("-")
    if wanted != "best" and not (kind == "top" and number.isdecimal() and int(number) >= 1):
        raise StudyError("--trial is best, a trial's number, top-K, or front", got=repr(wanted), remedy="Use best")
    trials = ranked(study)
    if not trials:
        raise StudyError("the study must have a trial with a value", got="none yet", remedy="Run search.run longer")
    if wanted != "best":
        return trials[: int(number)]
    stands = standing(study)
    assert stands is not None  # of every study that has a value
    return [stands.best]


def _front(study: optuna.Study) -> list[FrozenTrial]:
    """The complete trials that none dominates, those of the best value first."""
    if second_objective(study) is None:
        only = "one that was searched for accuracy alone"
        raise StudyError("--trial front needs a study of two objectives", got=only, remedy="Use best or top-K")
    front = [row.trial for row in front_trials(study) if row.on_front]
    if not front:
        raise StudyError("the front needs a complete trial", got="none yet", remedy="Run search.run longer")
    return front
