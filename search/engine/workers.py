"""Workers on this machine: this process itself, or processes of their own at the other end of a pipe."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from typing import Protocol, Self

import torch

from cifar.errors import UserError
from search.engine.trial_job import (
    JobEnd,
    JobEndKind,
    JobMessages,
    JobRunner,
    Message,
    TrialJob,
    Verdict,
    WorkerSetup,
    described,
)

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
    """

    def __init__(self, setup: WorkerSetup, threads: int) -> None:
        self.setup, self.threads = setup, threads
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
        try:
            message: Message = self.connection.recv()
        except (EOFError, OSError):
            message = JobEnd(self.number, JobEndKind.WORKER_LOST, self._cause_of_death())
        self.busy = not isinstance(message, JobEnd)
        return message

    def close(self) -> None:
        """See `Worker`."""
        if self.busy:
            self.process.kill()  # in mid-epoch; files are written whole or not at all
        self.connection.close()  # which ends it, where it waits for a job
        self._join()

    def renewed(self) -> ProcessWorker:
        """See `Worker`."""
        return ProcessWorker(self.setup, self.threads)

    def _send(self, message: TrialJob | Verdict) -> None:
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
    """The workers that have a message or are gone; waits at most `seconds` for the first."""
    ready = wait([worker.connection for worker in workers], timeout=seconds)
    return [worker for worker in workers if worker.connection in ready]


def could_not_begin(job: TrialJob, error: Exception) -> JobEnd:
    """How a job ends whose worker lacks what it needs."""
    mendable = error if isinstance(error, UserError) else None
    return JobEnd(job.number, JobEndKind.WORKER_LOST, f"its worker could not begin: {described(error)}", mendable)


def serve(connection: Connection[Message, TrialJob | Verdict], setup: WorkerSetup, threads: int) -> None:
    """The life of a worker's process: runs jobs until the driver closes the connection, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the driver decides
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
