"""Workers on this machine: this process itself, or processes of their own at the other end of a pipe."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from typing import Protocol, Self

import torch

from cifar.errors import UserError
from search.engine.exceptions import described
from search.engine.job_runner import JobRunner, WorkerSetup
from search.engine.trial_job import JobEnd, JobEndKind, JobMessages, Message, TrialJob, Verdict
from search.signals import ENDING

CLOSING_SECONDS = 10.0  # that a worker without a job gets to end by itself


class Worker(Protocol):
    """Runs one job at a time."""

    def begin(self, job: TrialJob) -> None:
        """Hands over a job."""

    def answer(self, verdict: Verdict) -> None:
        """Answers the last epoch's result."""

    def receive(self) -> Message:
        """The next message; a worker that failed ends its job with `JobEndKind.WORKER_LOST`."""

    def close(self) -> None:
        """Ends the worker; the job that it may have is abandoned at once."""

    def renewed(self) -> Self:
        """Another worker like this one, which was lost."""


class InlineWorker:
    """A worker in this process: it trains while its next message is waited for."""

    def __init__(self, runner: JobRunner) -> None:
        self.runner = runner
        self.messages: JobMessages | None = None
        self.verdict: Verdict | None = None

    def begin(self, job: TrialJob) -> None:
        """See `Worker`."""
        self.messages, self.verdict = self.runner.run(job), None

    def answer(self, verdict: Verdict) -> None:
        """See `Worker`."""
        self.verdict = verdict

    def receive(self) -> Message:
        """See `Worker`."""
        assert self.messages is not None
        return next(self.messages) if self.verdict is None else self.messages.send(self.verdict)

    def close(self) -> None:
        """See `Worker`."""
        if self.messages is not None:
            self.messages.close()

    def renewed(self) -> InlineWorker:
        """See `Worker`."""
        return InlineWorker(self.runner)


class ProcessWorker:
    """A worker in a process of its own.

    Args:
        setup: what the worker needs.
        threads: CPU threads that it may use.
        timeout: seconds within which an epoch must end, else the worker is killed; None is no limit.
    """

    def __init__(self, setup: WorkerSetup, threads: int, timeout: float | None = None) -> None:
        self.setup, self.threads, self.timeout = setup, threads, timeout
        self.asked = math.inf  # reading of the monotonic clock when an epoch began
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, setup, threads), name="cifar-search-worker")
        self.process.start()
        theirs.close()  # so that its end closes with its process
        self.number, self.busy = -1, False  # the trial of its last job, and whether the job has not ended

    def begin(self, job: TrialJob) -> None:
        """See `Worker`."""
        self.number, self.busy = job.number, True
        self._send(job)

    def answer(self, verdict: Verdict) -> None:
        """See `Worker`."""
        self._send(verdict)

    def receive(self) -> Message:
        """See `Worker`."""
        message = self._timed_out() if self.overdue and not self.connection.poll() else self._received()
        self.busy = not isinstance(message, JobEnd)
        return message

    @property
    def overdue(self) -> bool:
        """Whether an epoch takes longer than it may."""
        return self.busy and self.timeout is not None and time.monotonic() - self.asked > self.timeout

    def _received(self) -> Message:
        try:
            message: Message = self.connection.recv()
        except (EOFError, OSError):
            return JobEnd(self.number, JobEndKind.WORKER_LOST, self._cause_of_death())
        return message

    def _timed_out(self) -> JobEnd:
        self.process.kill()
        reason = f"no epoch ended within the --trial-timeout of {self.timeout:g} seconds"
        return JobEnd(self.number, JobEndKind.TIMED_OUT, reason)

    def close(self) -> None:
        """See `Worker`."""
        if self.busy:
            self.process.kill()  # in mid-epoch; files are written whole or not at all
        self.connection.close()  # which ends it, where it waits for a job
        self._join()

    def renewed(self) -> ProcessWorker:
        """See `Worker`."""
        return ProcessWorker(self.setup, self.threads, self.timeout)

    def _send(self, message: TrialJob | Verdict) -> None:
        self.asked = time.monotonic()
        with contextlib.suppress(OSError):  # it is gone: `receive` will say so
            self.connection.send(message)

    def _join(self) -> None:
        self.process.join(CLOSING_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _cause_of_death(self) -> str:
        self._join()
        status = self.process.exitcode
        assert status is not None
        if status < 0:
            return f"its worker was killed by {signal.Signals(-status).name}"
        return f"its worker exited with status {status}"


def ready_inline(workers: Sequence[InlineWorker]) -> Sequence[InlineWorker]:
    """All workers: each trains its next epoch when it is asked for its message."""
    return workers


def ready_processes(workers: Sequence[ProcessWorker], seconds: float) -> list[ProcessWorker]:
    """The workers that have a message, are gone or overdue; waits at most `seconds` for the first."""
    ready = wait([worker.connection for worker in workers], timeout=seconds)
    return [worker for worker in workers if worker.connection in ready or worker.overdue]


def could_not_begin(job: TrialJob, error: Exception) -> JobEnd:
    """How a job ends whose worker lacks what it needs."""
    mendable = error if isinstance(error, UserError) else None
    return JobEnd(job.number, JobEndKind.WORKER_LOST, f"its worker could not begin: {described(error)}", mendable)


def serve(connection: Connection[Message, TrialJob | Verdict], setup: WorkerSetup, threads: int) -> None:
    """The life of a worker's process: runs jobs until the driver closes the connection, or is gone."""
    for number in ENDING:  # they may reach the whole process group; the driver decides
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_driver, name="end with the driver", daemon=True).start()
    torch.set_num_threads(threads)
    runner: JobRunner | None = None
    with contextlib.suppress(EOFError, OSError):
        while True:
            job = connection.recv()
            assert isinstance(job, TrialJob)
            try:
                runner = runner or setup.runner()
            except Exception as error:
                connection.send(could_not_begin(job, error))
                return
            _run(connection, runner, job)


def _end_with_driver() -> None:
    """Ends this process, in mid-epoch too, when its driver is gone."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)


def _run(connection: Connection[Message, TrialJob | Verdict], runner: JobRunner, job: TrialJob) -> None:
    messages = runner.run(job)
    message = next(messages)
    while True:
        connection.send(message)
        if isinstance(message, JobEnd):
            return
        verdict = connection.recv()
        assert isinstance(verdict, Verdict)
        message = messages.send(verdict)
