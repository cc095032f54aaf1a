"""The promotion policy: which paused trial goes on, or whether a new one starts.

Successive halving (arXiv 1502.07943) in rounds over trials that can be paused and go on (as ASHA's promotion,
arXiv 1810.05934). Of n trials started, `n // eta**k`, and at least one, shall reach rung k. A round starts as many
trials as it can also pay the promotions of, and only then promotes the best of all that wait, those of earlier rounds
included. Each round doubles what was trained so far, so that the sampler learns from full trials early and a search
that is stopped early has lost little; the last takes what is left of the budget.

How good its choices are, beside random search, TPE and Hyperband, `benchmarks/search_quality.py` measures.

The policy holds no state: workers that see the same trials decide alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

FIRST_ROUND = 3  # full trials' worth of training


class Status(Enum):
    """What a trial is doing."""

    RUNNING = auto()
    """A worker trains it."""
    PAUSED = auto()
    """It waits, and can go on."""
    ENDED = auto()
    """It is complete, diverged, failed or was pruned."""


@dataclass(frozen=True)
class TrialView:
    """What the policy knows of a feasible trial."""

    number: int
    """Its number in the study."""
    status: Status
    """What it is doing."""
    epochs: int
    """Epochs trained; of a running trial, those that it will have when it pauses."""
    losses: dict[int, float] = field(default_factory=dict)
    """By epochs: the value reported, negated where larger is better."""
    cost: float = 1.0
    """Seconds of its epoch as a multiple of the mean trial's."""


@dataclass(frozen=True)
class Promote:
    """Go on with a paused trial."""

    number: int
    """Of the trial."""
    epochs: int
    """The rung to train it to."""


@dataclass(frozen=True)
class Start:
    """Ask the sampler for a new trial."""

    epochs: int
    """The rung to train it to."""


@dataclass(frozen=True)
class Wait:
    """Ask again when a running trial has ended or paused: what to promote depends on it."""


@dataclass(frozen=True)
class Done:
    """Nothing more can be trained within the limits."""


Decision = Promote | Start | Wait | Done


@dataclass(frozen=True)
class Promotion:
    """The policy of a study.

    Args:
        rungs: epochs at which trials pause, rising; the last is a full trial (R).
        eta: reduction factor; one of eta trials goes on at each rung.
    """

    rungs: Sequence[int]
    eta: int

    def decide(self, trials: Sequence[TrialView], epochs_left: float, trials_left: float) -> Decision:
        """What a free worker should do.

        Args:
            trials: all of the study's that keep the limits and repeat no other.
            epochs_left: mean trials' epochs that may be trained beyond what running trials will have; inf is no limit.
            trials_left: trials that may still start; inf is no limit.
        """
        state = _State(self, trials)
        total = state.spent + epochs_left
        may_start = trials_left >= 1 and epochs_left >= self.rungs[0]
        begun = state.begun(epochs_left)
        if begun is not None:
            return begun
        if may_start and (not trials or state.cost_after(starting=1) <= self._round_end(state.cost_after(), total)):
            return Start(self.rungs[0])
        due = state.due(epochs_left)
        if due is not None:
            return due
        if may_start and state.cost_after(starting=1) <= total:  # the next round begins
            return Start(self.rungs[0])
        if epochs_left < math.inf:
            return state.affordable(epochs_left) or state.wait_or_done()
        return state.wait_or_done()

    def _round_end(self, committed: float, total: float) -> float:
        """Training at the end of the round in which `committed` falls; `total` ends the last."""
        end = float(FIRST_ROUND * self.rungs[-1])
        while end < committed and 2 * end <= total:
            end *= 2
        return end if 2 * end <= total else total


class _State:
    """The trials by the rung that they have reached."""

    def __init__(self, policy: Promotion, trials: Sequence[TrialView]) -> None:
        self.rungs, self.eta, self.started = policy.rungs, policy.eta, len(trials)
        self.spent = sum(t.epochs * t.cost for t in trials)  # mean trials' epochs, running ones to their pause
        self.reached = [sum(t.epochs >= rung for t in trials) for rung in self.rungs]
        self.running = [0] * len(self.rungs)
        self.pools: list[list[TrialView]] = [[] for _ in self.rungs]  # paused, best first
        self.below: list[TrialView] = []  # paused before the first rung
        for trial in trials:
            level = sum(trial.epochs >= rung for rung in self.rungs) - 1
            if trial.status is Status.RUNNING:
                self.running[level] += 1
            elif trial.status is Status.PAUSED:
                (self.pools[level] if level >= 0 else self.below).append(trial)
        self.below.sort(key=lambda t: t.number)
        for rung, pool in zip(self.rungs, self.pools, strict=True):
            pool.sort(key=lambda t: (t.losses.get(rung, math.inf), t.number))

    def wanted(self, level: int, started: int) -> int:
        """How many of the trials started shall reach a rung."""
        return max(1, started // int(self.eta**level))

    def cost_after(self, starting: int = 0) -> float:
        """What will have been trained when, with so many more trials started, every promotion due has been made."""
        cost = self.spent + starting * self.rungs[0]
        coming = self.running[0] + starting  # trials on their way into the pool below
        for level in range(1, len(self.rungs)):
            pool, missing = self.pools[level - 1], self.wanted(level, self.started + starting) - self.reached[level]
            going = max(0, min(missing, len(pool) + coming))
            dear = [t.cost for t in pool[:going]]
            unit = sum(dear) / len(dear) if dear else 1.0
            cost += going * unit * (self.rungs[level] - self.rungs[level - 1])
            coming = self.running[level] + going
        return cost

    def begun(self, epochs_left: float) -> Promote | None:
        """A trial that a deadline paused below the first rung."""
        for trial in self.below[:1]:
            if self._step(trial, 0) <= epochs_left:
                return Promote(trial.number, self.rungs[0])
        return None

    def due(self, epochs_left: float) -> Promote | Wait | None:
        """A promotion that is due and that no trial on its way can dispute; a wait if one may become so; or none."""
        coming, waiting = self.running[0], False
        for level in range(1, len(self.rungs)):
            pool, missing = self.pools[level - 1], max(0, self.wanted(level, self.started) - self.reached[level])
            if missing > coming and pool and self._step(pool[0], level) <= epochs_left:
                return Promote(pool[0].number, self.rungs[level])
            going = min(missing, len(pool) + coming)
            waiting |= coming > 0 and going > 0
            coming = self.running[level] + going
        return Wait() if waiting and any(self.running) else None

    def affordable(self, epochs_left: float) -> Promote | None:
        """The best paused trial of the highest rung whose next rung the rest pays for."""
        for level in reversed(range(1, len(self.rungs))):
            for trial in self.pools[level - 1][:1]:
                if self._step(trial, level) <= epochs_left:
                    return Promote(trial.number, self.rungs[level])
        return None

    def _step(self, trial: TrialView, level: int) -> float:
        """Mean trials' epochs that take a paused trial to a rung."""
        return trial.cost * (self.rungs[level] - trial.epochs)

    def wait_or_done(self) -> Wait | Done:
        """A trial that is running may be promoted later."""
        return Wait() if any(self.running) else Done()
