"""Engines run a study's trials; the local one, in this process or in several on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

import optuna

from search.engine.driver import Driver, Emit, SearchRequest
from search.engine.promotion import Done, Wait
from search.engine.stopping import Stop
from search.engine.trial_job import JobEnd, JobEndKind
from search.engine.workers import InlineWorker, ProcessWorker, Worker, ready_inline, ready_processes
from search.planning.workers import devices_of_each, threads_of_each
from search.signals import ignored
from search.study.study import require_study
from spaces.base import SearchSpace
from spaces.multi_limit import space_for

WAITING_SECONDS = 0.2  # until a call whose workers are all idle asks again: other calls may have ended a trial
QUIET_SECONDS = 2.0  # without a message from any worker, until a call with busy workers does

W = TypeVar("W", bound=Worker)


class Engine(Protocol):
    """Runs the trials of a study that exists already."""

    def run(self, request: SearchRequest, emit: Emit) -> None:
        """Runs trials until a limit of the request is reached; Ctrl-C and SIGTERM leave every trial told.

        Trials that can pause end their epoch first and are saved; a second signal ends them at once.

        Raises:
            KeyboardInterrupt: a signal ended the search.
            UserError: something that the user must mend.
        """


class LocalEngine:
    """Workers on this machine: this process, or `settings.workers` others."""

    def run(self, request: SearchRequest, emit: Emit) -> None:
        """See `Engine.run`."""
        study = require_study(request.settings)
        space = space_for(request.settings.space, request.problem, request.plan.param_budgets)
        if request.settings.workers == 1 and request.settings.trial_timeout is None:  # a process can be killed
            run_inline(study, space, request, emit)
            return
        driver = Driver(study, space, request, emit)
        WorkerPool(_processes(request), lambda workers: ready_processes(workers, QUIET_SECONDS)).run(driver)


def _processes(request: SearchRequest) -> list[ProcessWorker]:
    """Starts the workers that the settings ask for, each on its device with its share of the cores."""
    count = request.settings.workers
    devices, threads = devices_of_each(request.settings.device, count), threads_of_each(count)
    setups = [replace(request.worker_setup, device=device) for device in devices]
    return [ProcessWorker(setup, threads, request.settings.trial_timeout) for setup in setups]


def run_inline(study: optuna.Study, space: SearchSpace, request: SearchRequest, emit: Emit, workers: int = 1) -> None:
    """Runs trials in this process.

    Args:
        study: the study whose trials are run.
        space: proposes and trains candidates.
        request: what to do; the study and the space that it names are not opened.
        emit: is told what happens.
        workers: how many workers train, an epoch each in turn.
    """
    runner = request.worker_setup.runner_of(space)
    driver = Driver(study, space, request, emit)
    WorkerPool([InlineWorker(runner) for _ in range(workers)], ready_inline).run(driver)


class WorkerPool(Generic[W]):
    """Keeps workers busy with a driver's jobs.

    Args:
        workers: idle ones.
        ready: waits for workers that have a message, and gives them; none if there is none for a while.
    """

    def __init__(self, workers: Sequence[W], ready: Callable[[Sequence[W]], Sequence[W]]) -> None:
        self.idle, self.ready = list(workers), ready
        self.busy: list[W] = []

    def run(self, driver: Driver) -> None:
        """Until the driver has no more jobs.

        Raises:
            KeyboardInterrupt: a signal ended the search.
            UserError: something that the user must mend.
        """
        with Stop(driver).by_signals():
            try:
                self._run(driver)
            except BaseException:
                with ignored():  # one more signal must not lose a trial
                    driver.interrupt()
                raise
            finally:
                with ignored():  # nor leave a worker behind
                    for worker in (*self.idle, *self.busy):
                        worker.close()

    def _run(self, driver: Driver) -> None:
        while self._hand_out(driver):
            if self.busy:
                self._take_messages(driver)
            else:
                time.sleep(WAITING_SECONDS)

    def _hand_out(self, driver: Driver) -> bool:
        """Gives idle workers jobs; whether there is anything left to wait for."""
        while self.idle:
            job = driver.next_job()
            if isinstance(job, Done):
                return bool(self.busy)
            if isinstance(job, Wait):
                return True
            worker = self.idle.pop()
            self.busy.append(worker)
            worker.begin(job)
        return True

    def _take_messages(self, driver: Driver) -> None:
        """Takes messages to the driver until a job has ended, or none came for a while."""
        ended = False
        while not ended:
            ready = list(self.ready(self.busy))
            for worker in ready:
                message = worker.receive()
                if isinstance(message, JobEnd):
                    self._free(worker, message)
                    driver.end(message)
                    ended = True
                else:
                    worker.answer(driver.answer(message))
            ended |= not ready

    def _free(self, worker: W, message: JobEnd) -> None:
        """Makes a worker idle; replaces one that was lost."""
        self.busy.remove(worker)
        if message.kind in (JobEndKind.WORKER_LOST, JobEndKind.TIMED_OUT):
            worker.close()
            self.idle.append(worker.renewed())
        else:
            self.idle.append(worker)
