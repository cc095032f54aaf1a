"""The desk between the driver and Tune: Tune asks it for jobs and brings it what they give."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from search.engine.driver import Driver
from search.engine.engine import QUIET_SECONDS, WAITING_SECONDS
from search.engine.promotion import Done, Wait
from search.engine.stopping import Stop
from search.engine.trial_job import EpochResult, JobEnd, JobEndKind, Saved, TrialJob, Verdict

LOST = "its worker was lost: its process ended or its node is gone"


class Stopped(Exception):
    """The search must end at once; not a KeyboardInterrupt, since Tune leaves its actors alone at those."""


class Desk:
    """Hands a driver's jobs to Tune, never more than there is room for.

    What is raised while Tune reports something is kept for the next time that Tune asks: Tune would log it and go on.

    Args:
        driver: owns the study.
        room: tells how many jobs may be out at once.
    """

    def __init__(self, driver: Driver, room: Callable[[], int]) -> None:
        self.driver, self.room = driver, room
        self.out: dict[str, int] = {}  # numbers of the study's trials, by the ids of the Tune trials that train them
        self.ask_after = 0.0  # reading of the monotonic clock before which the driver is not asked again
        self.stop = Stop(driver, self._stop_at_once)
        self.error: Exception | None = None

    def next_job(self, tune_id: str) -> TrialJob | Wait | Done:
        """A job for a new Tune trial; `Done` only when none is out, since one that ends may leave more to do.

        Raises:
            UserError: something that the user must mend.
            Stopped: the search must end at once.
        """
        self.check()
        if self.stop.asked:
            return Wait() if self.out else Done()
        if len(self.out) >= self.room() or time.monotonic() < self.ask_after:
            return Wait()
        job = self.driver.next_job()
        if isinstance(job, TrialJob):
            self.out[tune_id] = job.number
        elif self.out or isinstance(job, Wait):
            self.ask_after = time.monotonic() + (QUIET_SECONDS if self.out else WAITING_SECONDS)
            return Wait()
        return job

    def answer(self, message: EpochResult | Saved) -> Verdict:
        """The verdict on an epoch, or on going on after a checkpoint."""
        with self._keeping_errors():
            return self.driver.answer(message)
        return Verdict.STOP

    def end(self, tune_id: str, end: JobEnd | None = None) -> None:
        """Records how a Tune trial's job ended; None says that its worker was lost."""
        number = self.out.pop(tune_id, None)
        self.ask_after = 0.0
        if number is not None:
            with self._keeping_errors():
                self.driver.end(end or JobEnd(number, JobEndKind.WORKER_LOST, LOST))

    def _stop_at_once(self, _interrupt: KeyboardInterrupt) -> None:
        self.error = Stopped()

    def check(self) -> None:
        """Raises what was kept."""
        if self.error is not None:
            raise self.error

    @contextmanager
    def _keeping_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.error = self.error or error
