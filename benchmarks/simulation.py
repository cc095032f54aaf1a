"""Searches in simulated time: our driver and scheduler, any number of workers, and epochs that take what was recorded.

A space says in each report how long the epoch took, as `details["seconds"]`; the clock goes on by so much and nothing
is trained. What the scheduler and the sampler decide costs no simulated time.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import optuna

from cifar.errors import Diverged
from cifar.runtime.device import choose_device
from search.engine.candidate_record import candidate_of
from search.engine.driver import Driver, Emit, SearchRequest
from search.engine.promotion import Done, Wait
from search.engine.trial_job import EpochResult, JobEnd, JobEndKind, Message, TrialJob, Verdict
from spaces.base import SearchSpace, TrialContext


class Clock:
    """Simulated seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The present reading."""
        return self.now


@dataclass
class Training:
    """A job that a simulated worker trains."""

    job: TrialJob
    """The job."""
    messages: Iterator[EpochResult | JobEnd]
    """What its epochs give, then how it ends."""
    next: Message
    """The message that is due."""


class Simulation:
    """One call of a search.

    Args:
        space: proposes candidates, and tells recorded epochs.
        workers: that train side by side, as many as the request's settings name.
        clock: the request's clock.
        watch: is shown the driver before each decision.
    """

    def __init__(
        self, space: SearchSpace, workers: int, clock: Clock, watch: Callable[[Driver], None] = lambda driver: None
    ) -> None:
        self.space, self.workers, self.clock, self.watch = space, workers, clock, watch
        self.busy = 0.0  # simulated seconds of training, over all workers

    def run(self, study: optuna.Study, request: SearchRequest, emit: Emit, driver: Driver | None = None) -> None:
        """Runs trials until a limit of the request is reached.

        Args:
            study: the study whose trials are run.
            request: what to do.
            emit: is told what happens.
            driver: decides; None makes it as every search does.
        """
        driver = driver or Driver(study, self.space, request, emit)
        due: list[tuple[float, int, Training]] = []  # a heap by time; the number decides between equals
        order = itertools.count()
        while True:
            while len(due) < self.workers and (training := self._begin(driver)) is not None:
                self._schedule(due, order, training)
            if not due:
                return
            self.clock.now, _, training = heapq.heappop(due)
            if self._take(driver, training):
                self._schedule(due, order, training)

    def _begin(self, driver: Driver) -> Training | None:
        self.watch(driver)
        job = driver.next_job()
        if isinstance(job, Wait | Done):
            return None
        messages = self._train(job)
        return Training(job, messages, next(messages))

    def _schedule(self, due: list[tuple[float, int, Training]], order: Iterator[int], training: Training) -> None:
        seconds = training.next.seconds if isinstance(training.next, EpochResult) else 0.0
        self.busy += seconds
        heapq.heappush(due, (self.clock.now + seconds, next(order), training))

    def _take(self, driver: Driver, training: Training) -> bool:
        """Takes the message that is due to the driver; whether another one will follow."""
        message = training.next
        if isinstance(message, JobEnd):
            driver.end(message)
            return False
        verdict = driver.answer(message)
        if verdict is Verdict.TRAIN_ON:
            training.next = next(training.messages)
            return True
        kind = JobEndKind.SAVED if verdict is Verdict.SAVE else JobEndKind.STOPPED
        driver.end(JobEnd(message.number, kind))
        return False

    def _train(self, job: TrialJob) -> Iterator[EpochResult | JobEnd]:
        candidate = candidate_of(self.space, job.parameters, job.attributes, job.number)
        device = choose_device("cpu")
        context = TrialContext(
            job.full_length, job.seed, device, None, job.epochs_done, schedule_ends=job.schedule_ends
        )
        try:
            for report in self.space.train(candidate, context):
                seconds = report.details["seconds"]
                yield EpochResult(job.number, report.epoch, report.value, seconds, report.details)
        except Diverged as error:
            yield JobEnd(job.number, JobEndKind.DIVERGED, str(error))
        else:
            yield JobEnd(job.number, JobEndKind.TRAINED)
