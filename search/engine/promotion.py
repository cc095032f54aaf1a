"""The promotion policy: which paused trial is resumed, or whether a new one starts.

Successive halving (arXiv 1502.07943) over trials that pause with a checkpoint and are resumed from it, as in ASHA
(arXiv 1810.05934). Of n trials started, `n // eta**k`, but at least one, are trained to rung k, counted from 0: always
the best of those that are paused at the rung below.

Trials come in rounds. A round starts as many trials as it can afford *together with their promotions*, and only then
promotes. The first round is worth `FIRST_ROUND` full trials of training; each later one doubles what has been trained,
so that the sampler learns from full trials early and a search that is stopped early has lost little. The last round
takes what is left.

An example: rungs at 1, 2 and 4 epochs, eta = 2, and a first round of 3 full trials, which is 12 epochs.

1. Trials 0 to 6 start and pause after 1 epoch each: 7 epochs. Of seven trials, 7 // 2 = 3 are to reach 2 epochs, 1
   more each, and 7 // 4 = 1 is to reach 4 epochs, 2 more. So the *committed cost* is 7 + 3 + 2 = 12 epochs. An eighth
   trial would raise it to 8 + 4 + 2 * 2 = 16 epochs, more than the round holds.
2. Their losses after 1 epoch are 0.9 0.5 0.7 0.4 0.8 0.6 0.3. The best three, trials 6, 3 and 1, are promoted to 2
   epochs, in this order.
3. The losses of trials 6, 3 and 1 after 2 epochs are 0.25, 0.35 and 0.2. The best, trial 1, is promoted to 4 epochs:
   a full trial.
4. All 12 epochs are spent. The second round ends at 24 committed epochs. It starts new trials, and its promotions
   choose among all paused trials, those of the first round included.

Where some trials' epochs cost more than others', rounds still count epochs; the cost decides what can be afforded at
all. A worker that could only wait for others' values begins the next round; near a deadline, where no round can be
paid for any more, it promotes one more trial than is due (`spare`), since its time would be lost.

With two objectives, such as accuracy and parameters, the best are the first in the order of `search.study.fronts`: by
non-dominated rank, as in MO-ASHA (arXiv 2106.12639), and of one rank by what they add to its hypervolume.

`benchmarks/search_quality.py` measures its choices beside random search, TPE and Hyperband.

The policy holds no state: it decides from the trials alone.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import accumulate, pairwise
from typing import Protocol

from search.study import fronts
from search.study.fronts import Point

FIRST_ROUND = 3  # full trials' worth of training


class Status(Enum):
    """Whether a trial runs, is paused or has ended."""

    RUNNING = auto()
    """A worker trains it."""
    PAUSED = auto()
    """It has a checkpoint and can be resumed."""
    ENDED = auto()
    """It is complete, was pruned, diverged or failed."""


@dataclass(frozen=True)
class TrialView:
    """What the policy knows of a feasible trial."""

    number: int
    """Its number in the study."""
    status: Status
    """Whether it runs, is paused or has ended."""
    epochs: int
    """Epochs trained; for a running trial, those at which its job ends."""
    losses: dict[int, float] = field(default_factory=dict)
    """Value reported at each rung, negated where larger is better."""
    cost: float | None = 1.0
    """Of an epoch, in the policy's unit, such as seconds; None is not known, and counts as a mean trial's."""
    second: float | None = None
    """The second objective, smaller being better; None where there is one objective, and before it is known."""


def best_first(trials: Iterable[TrialView], rung: int) -> list[TrialView]:
    """The trials that have a value at a rung, best first: by value or, with two objectives, as `fronts` orders them."""
    valued = sorted((t for t in trials if rung in t.losses), key=lambda t: (t.losses[rung], t.number))
    points = [Point(t.second, -t.losses[rung]) for t in valued if t.second is not None]
    return [valued[index] for index in fronts.best_first(points)] if len(points) == len(valued) else valued


@dataclass(frozen=True)
class Promote:
    """Resume a paused trial."""

    number: int
    """The trial's number in the study."""
    epochs: int
    """Epochs of the rung to train it to."""


@dataclass(frozen=True)
class Start:
    """Ask the sampler for a new trial."""

    epochs: int
    """Epochs of the rung to train it to."""


@dataclass(frozen=True)
class Wait:
    """Ask again when a running trial has ended or paused: what to promote depends on its value."""


@dataclass(frozen=True)
class Done:
    """Nothing more can be trained within the limits."""


Decision = Promote | Start | Wait | Done


class Policy(Protocol):
    """Decides what a free worker does, from the trials alone."""

    def decide(
        self, trials: Sequence[TrialView], epochs_left: float, trials_left: float, mean_cost: float = 1.0
    ) -> Decision:
        """See `Promotion.decide`."""

    def spare(self, trials: Sequence[TrialView], epochs: float, mean_cost: float = 1.0) -> Promote | None:
        """See `Promotion.spare`."""


@dataclass(frozen=True)
class Promotion:
    """The policy of a study.

    Args:
        rungs: epochs at which trials pause, rising; the last is a full trial.
        eta: reduction factor, see `search.planning.rungs`.
    """

    rungs: Sequence[int]
    eta: int

    def decide(
        self, trials: Sequence[TrialView], epochs_left: float, trials_left: float, mean_cost: float = 1.0
    ) -> Decision:
        """What a free worker should do.

        Args:
            trials: the study's trials that keep the hard limits and repeat no other.
            epochs_left: epochs of a mean trial that may be trained beyond those of running trials; inf is no limit.
            trials_left: trials that may still start; inf is no limit.
            mean_cost: of an epoch of a mean trial, in the unit of the trials' costs.
        """
        state = _State(self, trials, epochs_left, mean_cost)
        affordable = state.due_cost(1) <= epochs_left * mean_cost
        may_start = trials_left >= 1 and epochs_left >= self.rungs[0] and (affordable or not trials)
        cut_off = state.cut_off()
        if cut_off is not None:
            return cut_off
        if state.any_running:  # other workers may have begun the next round early; its starts come second
            complete = self._in_complete_rounds(len(trials), state.epochs + epochs_left)
            late = state.due(complete) if complete else None
            if isinstance(late, Promote):
                return late
        if may_start and (not trials or state.committed_epochs(1) <= self._round_end(state, epochs_left)):
            return Start(self.rungs[0])
        due = state.due(len(trials))
        if isinstance(due, Promote):
            return due
        if may_start:  # the next round begins, also while running trials keep a promotion of this one open
            return Start(self.rungs[0])
        if due is not None:
            return due
        if epochs_left < math.inf:
            return state.highest() or state.wait_or_done()
        return state.wait_or_done()

    def spare(self, trials: Sequence[TrialView], epochs: float, mean_cost: float = 1.0) -> Promote | None:
        """What a worker does that has nothing to do: one more trial than is due is promoted, if it gets there in time.

        Args:
            trials: as for `decide`.
            epochs: of a mean trial that the worker can train in the time left.
            mean_cost: as for `decide`.
        """
        return _State(self, trials, epochs, mean_cost).highest()

    def _in_complete_rounds(self, started: int, total: float) -> int:
        """How many of so many started trials belong to rounds that have all of theirs.

        Their promotions precede new starts, also where free workers have begun the next round early. The last round,
        which takes what is left of the total, is not complete before the end.
        """
        complete, end = 0, FIRST_ROUND * self.rungs[-1]
        while 2 * end <= total and (holds := self._trials_within(end)) <= started:
            complete, end = holds, 2 * end
        return complete

    def _trials_within(self, epochs: int) -> int:
        """The most trials that so many epochs train together with their promotions."""
        steps = [high - low for low, high in pairwise(self.rungs)]

        def cost(started: int) -> int:
            promoted = (max(1, started // int(self.eta**level)) for level in range(1, len(self.rungs)))
            return started * self.rungs[0] + sum(n * step for n, step in zip(promoted, steps, strict=True))

        return bisect_right(range(1, epochs // self.rungs[0] + 1), epochs, key=cost)

    def _round_end(self, state: _State, epochs_left: float) -> float:
        """Committed epochs at which the present round ends; the epochs left end the last round.

        Rounds count epochs whatever these cost: otherwise one expensive promotion would push the committed cost past
        the round's end, the next round would begin at once, and its new trials would precede every promotion due.
        """
        committed, total = state.committed_epochs(), state.epochs + epochs_left
        end = float(FIRST_ROUND * self.rungs[-1])
        while end < committed and 2 * end <= total:
            end *= 2
        return end if 2 * end <= total else total


class _State:
    """The trials, sorted by the rung that they have reached."""

    def __init__(self, policy: Promotion, trials: Sequence[TrialView], epochs_left: float, mean_cost: float) -> None:
        self.rungs, self.eta, self.started = policy.rungs, policy.eta, len(trials)
        self.mean_cost, self.cost_left = mean_cost, epochs_left * mean_cost
        self.epochs = sum(t.epochs for t in trials)  # of running trials, to their pause
        self.running = [0] * len(self.rungs)
        self.two_objectives = any(t.second is not None for t in trials)
        self.trials = trials
        self.below: list[TrialView] = []  # paused by a deadline before the first rung
        self.waiting: list[list[TrialView]] = [[] for _ in self.rungs]  # paused, in no order: see `pool`
        self.sorted: dict[int, list[TrialView]] = {}
        at = [0] * len(self.rungs)  # trials whose highest rung this is
        for trial in trials:
            level = bisect_right(self.rungs, trial.epochs) - 1
            if level >= 0:
                at[level] += 1
            if trial.status is Status.RUNNING:
                self.running[level] += 1
            elif trial.status is Status.PAUSED:
                (self.waiting[level] if level >= 0 else self.below).append(trial)
        self.any_running = any(self.running)
        self.reached = list(accumulate(reversed(at)))[::-1]  # trials that reached each rung
        self.below.sort(key=lambda t: t.number)

    def pool(self, level: int) -> list[TrialView]:
        """Trials that are paused at a rung, best first.

        With two objectives, what a trial adds to a front depends on the others, those that were promoted included.
        """
        if level not in self.sorted:
            compared = self.trials if self.two_objectives else self.waiting[level]
            place = {t.number: place for place, t in enumerate(best_first(compared, self.rungs[level]))}
            self.sorted[level] = sorted(self.waiting[level], key=lambda t: (place.get(t.number, math.inf), t.number))
        return self.sorted[level]

    def wanted(self, level: int, started: int) -> int:
        """How many trials are to reach a rung once `started` have started."""
        return max(1, started // int(self.eta**level))

    def due_cost(self, starting: int = 0) -> float:
        """The committed cost that is still to come: `starting` new trials, and every promotion due after them."""
        cost = starting * self.rungs[0] * self.mean_cost
        for level, promoted in self._promotions(starting):
            known = [self._cost(t) for t in self.pool(level - 1)[:promoted]] if promoted else []
            unit = sum(known) / len(known) if known else self.mean_cost
            cost += promoted * unit * (self.rungs[level] - self.rungs[level - 1])
        return cost

    def _cost(self, trial: TrialView) -> float:
        return self.mean_cost if trial.cost is None else trial.cost

    def committed_epochs(self, starting: int = 0) -> float:
        """The committed cost counted in epochs, whatever these cost, with what is trained already."""
        promotions = (n * (self.rungs[level] - self.rungs[level - 1]) for level, n in self._promotions(starting))
        return self.epochs + starting * self.rungs[0] + sum(promotions)

    def _promotions(self, starting: int) -> Iterator[tuple[int, int]]:
        """How many trials are promoted to each rung once `starting` new ones have been started."""
        arriving = self.running[0] + starting  # trials that will be paused at the rung below
        for level in range(1, len(self.rungs)):
            missing = self.wanted(level, self.started + starting) - self.reached[level]
            promoted = max(0, min(missing, len(self.waiting[level - 1]) + arriving))
            yield level, promoted
            arriving = self.running[level] + promoted

    def cut_off(self) -> Promote | None:
        """Resumes a trial that a deadline paused below the first rung."""
        return self._best(self.below, 0)

    def due(self, started: int) -> Promote | Wait | None:
        """A promotion that is due whatever values running trials report; else a wait for these values; else None.

        Args:
            started: trials whose promotions count.
        """
        arriving, waiting = self.running[0], False
        for level in range(1, len(self.rungs)):
            missing = max(0, self.wanted(level, started) - self.reached[level])
            best = self._best(self.pool(level - 1), level) if missing > arriving else None
            if best:
                return best
            promoted = min(missing, len(self.waiting[level - 1]) + arriving)
            waiting |= arriving > 0 and promoted > 0
            arriving = self.running[level] + promoted
        return Wait() if waiting and self.any_running else None

    def highest(self) -> Promote | None:
        """Resumes the best paused trial of the highest rung from which the epochs left reach the next one."""
        levels = reversed(range(1, len(self.rungs)))
        return next(filter(None, (self._best(self.pool(level - 1), level) for level in levels)), None)

    def _best(self, pool: Sequence[TrialView], level: int) -> Promote | None:
        """Resumes the best of a pool that the epochs left take to a rung."""
        for trial in pool:
            if self._cost(trial) * (self.rungs[level] - trial.epochs) <= self.cost_left:
                return Promote(trial.number, self.rungs[level])
        return None

    def wait_or_done(self) -> Wait | Done:
        """Waits while a trial runs, since it may be promoted later."""
        return Wait() if self.any_running else Done()
