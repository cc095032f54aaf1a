"""The worker's side of a trial job: what it sets up once, and how it trains a job epoch by epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from cifar.candidate import Candidate
from cifar.data.prepare import PreparedData
from cifar.data.splits import TrainingSplit, load_training_split
from cifar.errors import CheckpointError, Diverged, UserError
from cifar.files import NO_ROOM
from cifar.latency import Latency, measure_latency
from cifar.runtime.device import Device, choose_device
from cifar.runtime.seeds import use_deterministic_algorithms
from search.engine.candidate_record import candidate_of
from search.engine.exceptions import described, lacks_memory
from search.engine.trial_job import EpochResult, JobEnd, JobEndKind, JobMessages, Saved, TrialJob, Verdict
from search.planning.plan import Plan
from search.study.checkpoints import checkpoint_of
from search.study.remote import StoreError, local_copy, written_to
from search.study.right_images import packed
from spaces.base import EpochReport, Problem, Proposal, SearchSpace, TrialContext
from spaces.multi_limit import space_for


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker needs before its first job; plain data."""

    space: str
    """Where the space is, as `--space` names it."""
    problem: Problem
    """What the space is made for."""
    plan: Plan
    """The study's plan: image counts and parameter limits."""
    data: PreparedData | None
    """Where the images are; None for a space without."""
    device: str
    """Where to train, as `--device` names it."""
    deterministic: bool
    """Whether equal seeds must give equal weights."""

    def runner(self) -> JobRunner:
        """What runs jobs in this process.

        Raises:
            UserError: the space, the data or the device cannot be used.
        """
        space = space_for(self.space, self.problem, self.plan.param_budgets)
        return self.runner_of(space)

    def runner_of(self, space: SearchSpace) -> JobRunner:
        """What runs jobs in this process, of a space that is loaded already."""
        if self.deterministic:
            use_deterministic_algorithms()
        split, device = self._split(), choose_device(self.device)
        return JobRunner(space, split and split.to(device.torch_device), device)

    def _split(self) -> TrainingSplit | None:
        if self.data is None:
            return None
        plan = self.plan
        return load_training_split(
            self.data, val_size=plan.val_size, train_size=plan.train_size, val_limit=plan.val_limit
        )


@dataclass(frozen=True)
class JobRunner:
    """Runs jobs, one at a time.

    Args:
        space: trains candidates.
        split: training and validation images on the device, for all jobs; None for a space without.
        device: where to train.
    """

    space: SearchSpace
    split: TrainingSplit | None
    device: Device

    def run(self, job: TrialJob) -> JobMessages:
        """Trains a job epoch by epoch; after each the verdict must be sent in."""
        try:
            with local_copy(job.read_from) if job.read_from else nullcontext() as checkpoint:
                yield from self._train(job, checkpoint)
        except StoreError as error:
            yield JobEnd(job.number, JobEndKind.STORE_LOST, str(error), error)
        except Diverged as error:
            yield JobEnd(job.number, JobEndKind.DIVERGED, str(error))
        except UserError as error:
            yield JobEnd(job.number, JobEndKind.RAISED, str(error), error)
        except OSError as error:
            yield _lacks_room(job, error) if error.errno in NO_ROOM else _raised(job, error)
        except Exception as error:  # a bug in a space, or out of memory: the study continues
            yield _raised(job, error)
        except SystemExit as error:
            yield JobEnd(job.number, JobEndKind.WORKER_LOST, f"its worker exited with status {error.code or 0}")

    def _train(self, job: TrialJob, checkpoint: Path | None) -> JobMessages:
        candidate = candidate_of(self.space, job.parameters, job.attributes, job.number)
        latency = self._latency(candidate) if job.measures_latency else None
        started = time.perf_counter()
        reports, note = self._reports(candidate, self._context(job, checkpoint))
        for report in reports:
            seconds = time.perf_counter() - started
            details, right = dict(report.details), None if report.right is None else packed(report.right)
            verdict = yield EpochResult(job.number, report.epoch, report.value, seconds, details, note, latency, right)
            note, latency = "", None
            if verdict is Verdict.CHECKPOINT and report.save is not None:
                _save(job, report.save, report.epoch)
                verdict = yield Saved(job.number, report.epoch)
            if verdict is Verdict.SAVE:
                if report.save is not None:
                    _save(job, report.save, report.epoch)
                yield JobEnd(job.number, JobEndKind.SAVED)
                return
            if verdict is Verdict.STOP:
                yield JobEnd(job.number, JobEndKind.STOPPED)
                return
            started = time.perf_counter()
        yield JobEnd(job.number, JobEndKind.TRAINED)

    def _latency(self, candidate: Proposal) -> Latency:
        """How long the candidate's network takes to answer where it trains."""
        assert isinstance(candidate, Candidate)  # of every space whose latency may be an objective
        return measure_latency(candidate.network, self.device)

    def _reports(self, candidate: Proposal, context: TrialContext) -> tuple[Iterator[EpochReport], str]:
        """What training reports; from the start, with a note that says so, where the checkpoint cannot be read."""
        reports = iter(self.space.train(candidate, context))
        if context.checkpoint is None:
            return reports, ""
        try:
            first = list(islice(reports, 1))  # reads the checkpoint
        except CheckpointError as error:
            fresh = replace(context, epochs_done=0, checkpoint=None)
            return iter(self.space.train(candidate, fresh)), f"its checkpoint is lost: {error} It begins again"
        return chain(first, reports), ""

    def _context(self, job: TrialJob, checkpoint: Path | None) -> TrialContext:
        return TrialContext(
            job.full_length,
            job.seed,
            self.device,
            self.split,
            job.epochs_done,
            checkpoint,
            job.end,
            job.schedule_ends,
        )


def _save(job: TrialJob, save: Callable[[Path], None], epoch: int) -> None:
    """Writes the checkpoint of an epoch."""
    with written_to(checkpoint_of(job.write_to, job.seed, epoch)) as file:
        save(file)


def _lacks_room(job: TrialJob, error: OSError) -> JobEnd:
    """The end of a job that could not be saved; the search ends with it."""
    reason = str(error.strerror)
    mend = UserError("checkpoints need room on the disk", got=f"{reason}: {job.write_to}", remedy="Free some")
    return JobEnd(job.number, JobEndKind.NO_ROOM, reason, mend)


def _raised(job: TrialJob, error: Exception) -> JobEnd:
    """The end of a job whose space raised an exception."""
    kind = JobEndKind.OUT_OF_MEMORY if lacks_memory(error) else JobEndKind.RAISED
    return JobEnd(job.number, kind, described(error))
