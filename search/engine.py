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

from cifar.data import PreparedData, TrainingSplit, load_training_split
from cifar.device import choose_device
from cifar.errors import UserError
from cifar.seeds import derive_seed, use_deterministic_algorithms
from search.events import Event, TrialEnded
from search.plan import Plan
from search.settings import SearchSettings, StudyError
from search.study import counted, recover_lost_trials, require_study, use_strategies
from search.trial import TrialRunner
from spaces.base import Problem
from spaces.registry import load_space

MOST_FAILURES = 3  # in a row with the same reason: the cause is not the candidate
MOST_INFEASIBLE = 1000  # in a row: the space does not know the limit

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
            work(job, 0, emit)
        else:
            _run_processes(job, emit)


def work(job: SearchJob, index: int, emit: Emit, ask_lock: AbstractContextManager[Any] | None = None) -> None:
    """One worker: asks for trials and runs them until the job is done.

    Args:
        job: what to do.
        index: of the worker, from 0; its sampler's seed depends on it.
        emit: is told what happens.
        ask_lock: shared by workers, so that they do not start more trials than wanted.
    """
    if job.settings.deterministic:
        use_deterministic_algorithms()
    study = require_study(job.settings)
    trials = len(study.get_trials(deepcopy=False))
    # a continued study must not draw again what it drew before: the seed moves with the number of trials
    seed = derive_seed(job.settings.seed, "sampler", trials, index)
    use_strategies(study, job.settings, job.plan, seed)
    runner = TrialRunner(
        study=study,
        space=load_space(job.settings.space, job.problem),
        plan=job.plan,
        split=_split(job),
        device=choose_device(job.settings.device),
        seed=job.settings.seed,
        emit=emit,
        out_of_time=lambda: job.deadline is not None and time.time() >= job.deadline,
    )
    watch = _Watch(job)
    while True:
        with ask_lock or nullcontext():
            if watch.done(study):
                return
            trial = study.ask()
        started = time.time()
        watch.saw(runner.run(trial), time.time() - started)


def _split(job: SearchJob) -> TrainingSplit | None:
    if job.data is None:
        return None
    plan = job.plan
    return load_training_split(job.data, val_size=plan.val_size, train_size=plan.train_size, val_limit=plan.val_limit)


class _Watch:
    """Decides whether a worker starts another trial."""

    def __init__(self, job: SearchJob) -> None:
        self.job = job
        self.endings: list[TrialEnded] = []
        self.shortest: float | None = None  # seconds of the shortest trial that trained

    def saw(self, ended: TrialEnded, seconds: float) -> None:
        """Takes note of a trial's end; raises `StudyError` where going on is pointless."""
        self.endings.append(ended)
        if ended.epoch:
            self.shortest = min(seconds, self.shortest or seconds)
        last = self.endings[-MOST_FAILURES:]
        if len(last) == MOST_FAILURES and all(e.state == "failed" and e.reason == ended.reason for e in last):
            raise StudyError(
                f"trials must not fail {MOST_FAILURES} times in a row",
                got=ended.reason,
                remedy="Mend the cause",
            )
        last = self.endings[-MOST_INFEASIBLE:]
        if len(last) == MOST_INFEASIBLE and all(e.state == "infeasible" for e in last):
            raise StudyError(
                f"one of {MOST_INFEASIBLE} proposals must keep the limits",
                got=ended.reason,
                remedy="Raise the limit",
            )

    def done(self, study: optuna.Study) -> bool:
        """Whether the number of trials is reached, or the time left is too short for a first rung."""
        wanted, deadline = self.job.max_trials, self.job.deadline
        if wanted is not None and counted(study.get_trials(deepcopy=False)) >= wanted:
            return True
        return deadline is not None and time.time() + (self.shortest or 0.0) / 2 >= deadline


def _run_processes(job: SearchJob, emit: Emit) -> None:
    context = multiprocessing.get_context("spawn")
    messages: Any = context.Queue()
    ask_lock = context.Lock()
    workers = [
        context.Process(target=_worker_process, args=(job, index, messages, ask_lock), name=f"worker-{index}")
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
        alive = any(worker.is_alive() for worker in workers)
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


def _worker_process(job: SearchJob, index: int, messages: Any, ask_lock: Any) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // job.settings.workers))
    try:
        work(job, index, messages.put, ask_lock)
    except KeyboardInterrupt:
        pass  # the main process says so
    except UserError as error:
        messages.put(error)
