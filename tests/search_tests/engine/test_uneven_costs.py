"""The promotion policy where epochs of trials differ in cost: searches in simulated time, by one worker or many."""

from __future__ import annotations

import heapq
import math
import random
import statistics
from dataclasses import dataclass, field

import pytest

from search.engine.promotion import Done, Promotion, Start, Status, TrialView, Wait

RUNGS = [1, 2, 4, 8]


@dataclass
class Trial:
    """A simulated trial."""

    cost: float
    """Time of an epoch."""
    quality: float
    """Loss that its values approach."""
    status: Status = Status.RUNNING
    trained: int = 0
    end: int = 0
    """Epochs at which its job ends."""
    losses: dict[int, float] = field(default_factory=dict)


@dataclass
class TimedSearch:
    """A search until a deadline, whose epochs cost log-normally distributed times with mean 1.

    Args:
        spread: standard deviation of the logarithm of the costs; 0 makes all alike.
        workers: that train side by side.
        full_trials: worth of training that each worker has time for.
        seed: of costs and values.
    """

    spread: float
    workers: int
    full_trials: int
    seed: int
    trials: list[Trial] = field(default_factory=list)
    busy: float = 0.0

    def __post_init__(self) -> None:
        self.random, self.deadline = random.Random(self.seed), float(self.full_trials * RUNGS[-1])
        self.policy = Promotion(RUNGS, 2)

    def run(self) -> float:
        """The share of the time after which the first full trial stands; 1 if none does."""
        now, first, running = 0.0, 1.0, list[tuple[float, int]]()
        while now < self.deadline:
            while len(running) < self.workers and (number := self._next(now)) is not None:
                trial = self.trials[number]
                seconds = trial.cost * (trial.end - trial.trained)
                self.busy += min(seconds, self.deadline - now)
                heapq.heappush(running, (now + seconds, number))
            if not running:
                break
            now, number = heapq.heappop(running)
            if now <= self.deadline and self._ended(self.trials[number]) is Status.ENDED:
                first = min(first, now / self.deadline)
        return first

    def _next(self, now: float) -> int | None:
        views, left = self._views(now)
        decision = self.policy.decide(views, left, math.inf)
        if isinstance(decision, Wait | Done):
            return None
        if isinstance(decision, Start):
            cost = math.exp(self.random.gauss(0, self.spread) - self.spread**2 / 2)
            self.trials.append(Trial(cost, self.random.random()))
            number = len(self.trials) - 1
        else:
            number = decision.number
        self.trials[number].status, self.trials[number].end = Status.RUNNING, decision.epochs
        return number

    def _views(self, now: float) -> tuple[list[TrialView], float]:
        """What the scheduler shows: costs relative to the mean epoch, and how many epochs the time left allows."""
        epochs = sum(t.trained for t in self.trials)
        mean = sum(t.trained * t.cost for t in self.trials) / epochs if epochs else 1.0
        views = [
            TrialView(i, t.status, t.end, dict(t.losses), t.cost / mean if t.trained else 1.0)
            for i, t in enumerate(self.trials)
        ]
        running = sum(
            (v.cost or 1.0) * (v.epochs - self.trials[v.number].trained) for v in views if v.status is Status.RUNNING
        )
        return views, self.workers * (self.deadline - now) / mean - running

    def _ended(self, trial: Trial) -> Status:
        trial.trained = trial.end
        trial.losses[trial.end] = trial.quality + self.random.gauss(0, 0.2) / trial.end
        trial.status = Status.ENDED if trial.end == RUNGS[-1] else Status.PAUSED
        return trial.status


@pytest.mark.parametrize("spread", [0.0, 0.4, 0.8])
def test_a_full_trial_stands_early_however_costs_differ(spread: float) -> None:
    shares = [TimedSearch(spread, workers=1, full_trials=8, seed=seed).run() for seed in range(60)]
    assert statistics.mean(shares) <= 0.45


@pytest.mark.parametrize("workers", [2, 8, 16])
def test_workers_are_busy_however_costs_differ(workers: int) -> None:
    for spread in (0.0, 0.8):
        searches = [TimedSearch(spread, workers, full_trials=6, seed=seed) for seed in range(3)]
        first = [search.run() for search in searches]
        used = statistics.mean(search.busy / (search.deadline * workers) for search in searches)
        assert used >= 0.93
        assert statistics.mean(first) <= 0.5
