"""The local engine: runs a study's trials in this process, or in several that share only the storage."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import queue
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from typing import Any, Protocol

import optuna
import torch

from cifar.data.prepare import PreparedData
from cifar.data.splits import TrainingSplit, load_training_split
from cifar.errors import UserError
from cifar.runtime.device import choose_device
from cifar.runtime.seeds import use_deterministic_algorithms
from search.engine.events import Event
from search.engine.promotion import Done, Wait
from search.engine.samplers import use_strategies
from search.engine.scheduler import Dispatcher, Limits
from search.engine.trial_job import TrialRunner
from search.planning.planner import Plan
from search.planning.workers import threads_of_each
from search.settings import SearchSettings
from search.study.study import recover_lost_trials, require_study
from spaces.base import Problem, SearchSpace
from spaces.multi_limit import space_for

WAITING_SECONDS = 0.2  # before a worker without work asks again

Emit = Callable[[Event], None]


@dataclass(frozen=True)
class SearchJob:
    """What an engine is asked to do; plain data, so that any worker can be told."""

    settings: SearchSettings
    """Of this call."""
    plan: Plan
    """Of the study."""
    problem: Problem
    """What the space is made for."""
    data: PreparedData | None
    """The data set; None for a space that uses no images."""
    deadline: float | None
    """time.time() after which no epoch starts; None is no deadline."""
    max_trials: int | None
    """Trials of the study in all."""
    max_epochs: int | None = None
    """Epochs of the study in all."""
    epoch_seconds: float | None = None
    """Expected of an epoch; None is unknown."""


class Engine(Protocol):
    """Runs the trials of a study that exists already."""

    def run(self, job: SearchJob, emit: Emit) -> None:
        """Runs trials until the job's deadline or number; Ctrl-C leaves every trial told.

        Raises:
            UserError: something that the user must mend.
        """


class LocalEngine:
    """Workers on this machine: this process, or `settings.workers` others."""

    def run(self, job: SearchJob, emit: Emit) -> None:
        """See `Engine.run`."""
        if job.settings.workers == 1:
            work(job, emit)
        else:
            _run_processes(job, emit)


def work(job: SearchJob, emit: Emit, ask_lock: AbstractContextManager[Any] | None = None) -> None:
    """One worker: asks for trials and runs them until the job is done.

    Args:
        job: what to do.
        emit: is told what happens.
        ask_lock: shared by workers, so that they do not start more trials than wanted.
    """
    if job.settings.deterministic:
        use_deterministic_algorithms()
    space = space_for(job.settings.space, job.problem, job.plan.param_budgets)
    run_trials(require_study(job.settings), space, job, emit, ask_lock)


def run_trials(
    study: optuna.Study,
    space: SearchSpace,
    job: SearchJob,
    emit: Emit,
    ask_lock: AbstractContextManager[Any] | None = None,
) -> None:
    """Runs trials of a study, in this process, until the job is done; see `work`."""
    settings = job.settings
    use_strategies(study, settings, job.plan)
    pauses = settings.pruner == "promotion"
    runner = TrialRunner(
        study=study,
        space=space,
        plan=job.plan,
        split=_split(job),
        device=choose_device(settings.device),
        seed=settings.seed,
        checkpoints=settings.folder / "checkpoints",
        emit=emit,
        out_of_time=lambda: job.deadline is not None and time.time() >= job.deadline,
        pauses=pauses,
        replicate=settings.replicate,
    )
    limits = Limits(job.deadline, job.max_trials, job.max_epochs, settings.workers)
    dispatcher = Dispatcher(
        study, job.plan, limits, pauses=pauses, epoch_seconds=job.epoch_seconds, shared=ask_lock is not None
    )
    while True:
        with ask_lock or nullcontext():
            task = dispatcher.next()
        if isinstance(task, Done):
            return
        if isinstance(task, Wait):
            time.sleep(WAITING_SECONDS)
            continue
        started = time.perf_counter()
        dispatcher.saw(runner.run(task), time.perf_counter() - started)


def _split(job: SearchJob) -> TrainingSplit | None:
    if job.data is None:
        return None
    plan = job.plan
    return load_training_split(job.data, val_size=plan.val_size, train_size=plan.train_size, val_limit=plan.val_limit)


def _run_processes(job: SearchJob, emit: Emit) -> None:
    context = multiprocessing.get_context("spawn")
    messages: Any = context.Queue()
    ask_lock = context.Lock()
    workers = [
        context.Process(target=_worker_process, args=(job, messages, ask_lock), name=f"worker-{index}")
        for index in range(job.settings.workers)
    ]
    for worker in workers:
        worker.start()
    try:
        errors = _listen(workers, messages, emit)
    except BaseException:
        _interrupt(workers)
        raise
    if any(worker.exitcode not in (0, None) for worker in workers):  # killed, for example for want of memory
        recover_lost_trials(require_study(job.settings))
    if errors:
        raise errors[0]


def _listen(workers: list[SpawnProcess], messages: Any, emit: Emit) -> list[UserError]:
    """Passes on what workers tell until all have ended; the errors of users' making."""
    errors: list[UserError] = []
    while True:
        alive = sum(worker.is_alive() for worker in workers)  # asks each: so the system forgets those that ended
        try:
            message = messages.get(timeout=0.2)
        except queue.Empty:
            if not alive:
                return errors
            continue
        if isinstance(message, UserError):
            errors.append(message)
            _interrupt(workers)
        else:
            emit(message)


def _interrupt(workers: list[SpawnProcess]) -> None:
    """Has every worker end its trial as Ctrl-C would, and waits."""
    for worker in workers:
        if worker.pid and worker.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGINT)
    for worker in workers:
        worker.join(timeout=30)


def _worker_process(job: SearchJob, messages: Any, ask_lock: Any) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(threads_of_each(job.settings.workers))
    try:
        work(job, messages.put, ask_lock)
    except KeyboardInterrupt:
        pass  # the main process says so
    except UserError as error:
        messages.put(error)
