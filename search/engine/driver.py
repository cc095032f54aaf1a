"""The driver: the process that owns a study while a search runs.

It asks the scheduler what to do, hands jobs to workers, answers each epoch with a verdict, and writes everything
through the ledger. Whoever decides never trains, and whoever trains never decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import optuna

from cifar.data.prepare import PreparedData
from search.engine.events import Event, TrialEnded
from search.engine.job_runner import WorkerSetup
from search.engine.ledger import OUT_OF_TIME, STOPPED, Ledger
from search.engine.promotion import Done, Promote, Start, Wait
from search.engine.pruners import make_pruner
from search.engine.samplers import use_sampler
from search.engine.scheduler import Clock, Limits, Scheduler
from search.engine.trial_job import PUT_BACK, EpochResult, JobEnd, Saved, TrialJob, Verdict
from search.planning.plan import Plan
from search.settings import SearchSettings
from search.study.cached_storage import refresh
from search.study.checkpoints import CHECKPOINTS
from search.study.exclusion import exclusive
from search.study.leases import Lease
from search.study.prior import prior_of
from search.study.recovery import recover_stale_trials
from search.study.remote import Place
from search.study.study import seed_of
from spaces.base import Problem, SearchSpace

Emit = Callable[[Event], None]


@dataclass(frozen=True)
class SearchRequest:
    """What an engine is asked to do."""

    settings: SearchSettings
    """What the user asked of this call."""
    plan: Plan
    """The study's plan."""
    problem: Problem
    """What the space is made for."""
    clock: Clock
    """Tells the seconds that the deadline is counted in."""
    data: PreparedData | None = None
    """The data set; None for a space that uses no images."""
    deadline: float | None = None
    """Reading of the clock after which no epoch starts; None is no deadline."""
    max_trials: int | None = None
    """Trials of the study in all."""
    max_epochs: int | None = None
    """Epochs that this call may train."""
    epoch_seconds: float | None = None
    """Expected wall-clock time of an epoch; None is unknown."""
    checkpoints: Place | None = None
    """Folder of the trials' checkpoints; None keeps them in the study's."""
    lease: Lease | None = None
    """The driver's lease on its trials; None where no other process uses the study."""

    @property
    def pauses(self) -> bool:
        """Whether trials pause and are promoted."""
        return self.settings.pruner == "promotion"

    @property
    def limits(self) -> Limits:
        """When the call ends."""
        return Limits(self.deadline, self.max_trials, self.max_epochs, self.settings.workers)

    @property
    def passes(self) -> float:
        """Length of a full trial in passes over the training images; in epochs for a space without images."""
        plan = self.plan
        if self.data is None:
            return float(plan.max_epochs)
        return plan.max_epochs * plan.train_size / (self.data.train_count - plan.val_size)

    @property
    def worker_setup(self) -> WorkerSetup:
        """What each worker needs to know."""
        settings = self.settings
        return WorkerSetup(settings.space, self.problem, self.plan, self.data, settings.device, settings.deterministic)


class Driver:
    """Owns a study for one call.

    Args:
        study: the study, which gets its sampler and pruner.
        space: proposes candidates.
        request: what the engine was asked to do.
        emit: is told what happens.
    """

    def __init__(self, study: optuna.Study, space: SearchSpace, request: SearchRequest, emit: Emit) -> None:
        settings, plan = request.settings, request.plan
        use_sampler(study, settings, plan, prior_of(study, space, request.passes), space.added)
        study.pruner = make_pruner(settings.pruner, plan)
        self.study, self.clock, self.lease = study, request.clock, request.lease
        self.ledger = Ledger(
            study,
            space,
            plan,
            driver=request.lease.driver if request.lease else {},
            seed=seed_of(study, settings),
            checkpoints=request.checkpoints or settings.folder / CHECKPOINTS,
            emit=emit,
            pauses=request.pauses,
            replicate=settings.replicate,
        )
        self.scheduler = Scheduler(
            study, plan, request.limits, request.clock, pauses=request.pauses, epoch_seconds=request.epoch_seconds
        )
        self.jobs: dict[int, tuple[TrialJob, float]] = {}  # by number, with the time when each began
        self.ending = False  # whether no epoch may begin, whatever the clock says

    def next_job(self) -> TrialJob | Wait | Done:
        """A job for a free worker; `Wait` says to ask again later, `Done` that nothing is left to do.

        Raises:
            UserError: the user has to mend something before trials can be trained.
        """
        while True:
            decision = Done() if self.ending else self.scheduler.decide()
            if isinstance(decision, Done):
                return decision
            if isinstance(decision, Wait):
                if self.lease:  # perhaps for a trial of another call that was killed
                    recover_stale_trials(self.study, self.lease, close_paused=False)
                return decision
            began = self.clock()
            if self.lease:
                self.lease.hold()
            job = self._start(decision) if isinstance(decision, Start) else self._resume(decision)
            if isinstance(job, TrialEnded):
                self.scheduler.note(job, self.clock() - began)
            if not isinstance(job, TrialJob):  # else another call was first
                continue
            self.jobs[job.number] = (job, began)
            self.scheduler.begun(job.number, job.start, job.end)
            return job

    def _start(self, decision: Start) -> TrialJob | TrialEnded | None:
        """A new trial; None where other calls have begun the last one that was wanted."""
        trial = self._asked()
        return self.ledger.start(trial, decision.epochs) if trial else None

    def _asked(self) -> optuna.Trial | None:
        """The next trial, unless there are as many as wanted; others wait no longer than until it is counted."""
        if self.scheduler.limits.max_trials is None:
            return self.ledger.ask()
        with exclusive(self.study):
            if self.lease and not self.lease.undisturbed():
                refresh(self.study)
            return self.ledger.ask() if self.scheduler.wants_more_trials else None

    def _resume(self, decision: Promote) -> TrialJob | None:
        """A paused trial; None where another call has claimed it."""
        return self.ledger.resume(self.study.get_trials(deepcopy=False)[decision.number], decision.epochs)

    def answer(self, message: EpochResult | Saved) -> Verdict:
        """Reports an epoch, or a checkpoint between rungs; the verdict says what its worker does next."""
        if isinstance(message, Saved):
            return self.ledger.saved(message)
        job, _ = self.jobs[message.number]
        return self.ledger.report(job, message, self._ends)

    @property
    def _ends(self) -> str:
        """Why no other epoch may begin; empty where one may."""
        if self.ending:
            return STOPPED
        return OUT_OF_TIME if self.scheduler.out_of_time else ""

    def end(self, end: JobEnd) -> None:
        """Records the end of a job.

        Raises:
            UserError: what the user has to mend, or that continuing is pointless.
        """
        _, began = self.jobs.pop(end.number)
        ended = self.ledger.close(end)
        if end.error is not None:
            raise end.error
        self.scheduler.note(ended, self.clock() - began, failed=end.kind in PUT_BACK)

    def begin_no_epoch(self) -> None:
        """From now on trials end with the epoch that they train, as at the deadline, and none begins."""
        self.ending = True

    def interrupt(self) -> None:
        """Puts back every trial whose job has not ended."""
        self.jobs.clear()
        self.ledger.put_all_back()
