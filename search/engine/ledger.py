"""The ledger: the one writer of a study while a search runs.

A trial's life is in this file. It is asked for (`ask`) and recorded (`start`), or resumed from its checkpoint
(`resume`); each epoch is reported, and the verdict given (`report`); and it ends: complete, pruned, paused, failed or
put back to its last checkpoint (`close`, `put_back`). Workers, displays and policies never write to the study.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from cifar.errors import UserError
from cifar.runtime.seeds import derive_seed
from search.engine.candidate_record import candidate_of, cost_of, record_candidate
from search.engine.events import EpochDone, Event, TrialEnded, TrialNoted, TrialOutcome, TrialStarted
from search.engine.exceptions import described
from search.engine.kept_models import trains_on_images
from search.engine.open_trial import OpenTrial
from search.engine.trial_job import PUT_BACK, EpochResult, JobEnd, JobEndKind, Saved, TrialJob, Verdict
from search.format import format_epochs
from search.planning.plan import Plan
from search.study.attributes import (
    BASELINE,
    BATCH_LATENCY,
    CONTINUES,
    EPOCH_SECONDS,
    FINGERPRINT,
    LAST_JOB,
    LATENCY,
    PAUSED,
    REASON,
    REPEAT_OF,
    RETRY_OF,
    RIGHT,
    SAVED,
    SEED,
    TRY_AGAIN,
    WORKER,
    given,
    record,
)
from search.study.cached_storage import refresh
from search.study.checkpoints import remove_checkpoints, saved_checkpoint
from search.study.objectives import second_objective, second_of
from search.study.optuna_internals import report_value
from search.study.recovery import INTERRUPTED, claim, requeue
from search.study.remote import Place
from search.study.standing import standing
from search.study.trials import is_paused, known_result, value_of
from spaces.base import Proposal, SearchSpace, can_resume, propose

EPOCH_TOLERANCE = 0.1  # relative change of a trial's seconds an epoch below which the study keeps the old figure
OUT_OF_TIME, STOPPED = "time budget spent", "the search was stopped"  # why no other epoch may begin
UNSAVED_SECONDS = 600.0  # of training since the last checkpoint, after which a trial is saved between rungs
LOSSES_OF_A_CANDIDATE = 2  # workers lost, or out of memory, in training one candidate, after which it fails for good


class Ledger:
    """Writes a study.

    Args:
        study: the study, with its sampler and pruner.
        space: proposes candidates.
        plan: full length and limits of the study.
        driver: what the trials hold of their driver, see `search.study.leases.Lease.driver`.
        seed: the study's seed; each trial's own derives from it and the trial's number.
        checkpoints: folder of the states of paused trials, and of those whose weights are kept.
        emit: is told what happens.
        pauses: whether trials pause and are resumed later; otherwise the study's pruner ends them.
        replicate: whether a repeated candidate is trained again.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: SearchSpace,
        plan: Plan,
        *,
        driver: Mapping[str, Any],
        seed: int,
        checkpoints: Place,
        emit: Callable[[Event], None],
        pauses: bool,
        replicate: bool = False,
    ) -> None:
        self.study, self.space, self.plan, self.driver, self.seed = study, space, plan, dict(driver), seed
        self.checkpoints, self.emit, self.pauses, self.replicate = checkpoints, emit, pauses, replicate
        self.open: dict[int, OpenTrial] = {}  # by number; what a sudden end must put back
        self.resumable, self.keeps = can_resume(space), trains_on_images(space)
        self.second = second_objective(study)  # which a trial's complete result needs beside its value
        self.losses: Counter[str] = Counter()  # jobs that were put back, by fingerprint of the candidate

    # ---- a job begins

    def ask(self) -> Trial:
        """A new trial, to be started."""
        trial = self.study.ask()
        self.open[trial.number] = OpenTrial(trial, 0)
        return trial

    def start(self, trial: Trial, epochs: int) -> TrialJob | TrialEnded:
        """Starts a new trial; it ends at once if it fails to propose, breaks a limit, or repeats another.

        The baseline pauses at the first rung whatever the pruner, so that little is lost where the search is stopped.

        Args:
            trial: just asked for.
            epochs: of the rung to train it to.

        Raises:
            UserError: the space says what the user has to mend.
        """
        try:
            begun = self._begun(trial, epochs)
        except UpdateFinishedTrialError:
            begun = self._lost(trial.number)
        if isinstance(begun, TrialEnded):
            del self.open[trial.number]
        return begun

    def _begun(self, trial: Trial, epochs: int) -> TrialJob | TrialEnded:
        attributes = given(trial.user_attrs)
        if BASELINE in attributes:
            epochs = min(epochs, self.plan.rungs[0])
        trial.set_user_attr(WORKER, self.driver)
        trial.set_user_attr(LAST_JOB, [0, epochs])
        try:
            candidate = propose(self.space, trial)
            ended = self._recorded(trial, candidate) or self._repeated(trial)
        except UserError as error:
            self._end(trial, TrialState.FAIL, TrialOutcome.FAILED, str(error))
            raise
        except UpdateFinishedTrialError:
            raise
        except Exception as error:  # a bug in a space: the study continues without this trial
            ended = self._end(trial, TrialState.FAIL, TrialOutcome.FAILED, described(error))
        return ended or self._job(trial, attributes, candidate, 0, epochs)

    def resume(self, stored: FrozenTrial, epochs: int) -> TrialJob | None:
        """Claims a paused trial, to be trained up to `epochs`; None where another call has claimed it."""
        start, trial = record(stored).paused, claim(self.study, stored, self.driver, epochs)
        if trial is None:
            return None
        self.open[trial.number] = OpenTrial(trial, start, stored.last_step or 0)
        attributes = given(stored.user_attrs)
        candidate = candidate_of(self.space, stored.params, attributes, trial.number)
        return self._job(trial, attributes, candidate, start, epochs)

    def _job(self, trial: Trial, attributes: Mapping[str, Any], candidate: Proposal, start: int, end: int) -> TrialJob:
        seed = trial.user_attrs[SEED]
        replaces = trial.user_attrs.get(CONTINUES, trial.user_attrs.get(RETRY_OF))
        self.emit(TrialStarted(trial.number, candidate.summary, *cost_of(candidate), start, replaces, trial.params))
        read_from = saved_checkpoint(self.checkpoints, seed, start) if start and self.resumable else None
        saves = self.space.uses_images or SAVED in trial.user_attrs
        if start and self.resumable and saves and read_from is None:
            self.emit(TrialNoted(trial.number, f"its checkpoint is not in {self.checkpoints}: it begins again"))
        epochs_done = start if read_from or (self.resumable and not saves) else 0
        parameters, folder = dict(trial.params), self.checkpoints
        return TrialJob(
            trial.number,
            parameters,
            attributes,
            seed,
            start,
            end,
            self.plan.max_epochs,
            self.plan.schedule_ends,
            epochs_done,
            read_from,
            folder,
            measures_latency=self.second == "latency" and LATENCY not in trial.user_attrs,
        )

    def _recorded(self, trial: Trial, candidate: Proposal) -> TrialEnded | None:
        """Records what the candidate is and costs; ends the trial untrained if it breaks a limit."""
        trial.set_user_attr(SEED, derive_seed(self.seed, "trial", trial.number))
        broken = record_candidate(trial, candidate, self.plan, self.second)
        return self._end(trial, TrialState.PRUNED, TrialOutcome.INFEASIBLE, broken) if broken else None

    def _repeated(self, trial: Trial) -> TrialEnded | None:
        """Reuses the result of an earlier trial of the same candidate; training it again would tell nothing new."""
        if self.replicate:
            return None
        known = known_result(self.study.get_trials(deepcopy=False), trial.user_attrs[FINGERPRINT], trial.number)
        if known is None:
            return None
        trial.set_user_attr(REPEAT_OF, known.number)
        for key in (LATENCY, BATCH_LATENCY, RIGHT):
            if key in known.user_attrs:
                trial.set_user_attr(key, known.user_attrs[key])
        for epoch, reported in sorted(known.intermediate_values.items()):
            self._store(trial, reported, epoch)
        complete = known.state is TrialState.COMPLETE
        state, value = (TrialState.COMPLETE if complete else TrialState.PRUNED), (value_of(known) if complete else None)
        return self._end(trial, state, TrialOutcome.REPEATED, f"repeats trial {known.number}", value)

    # ---- an epoch is done

    def report(self, job: TrialJob, result: EpochResult, ends: str) -> Verdict:
        """Reports an epoch; the verdict says what the worker does next.

        Args:
            job: the job that trains the trial.
            result: what the epoch gave.
            ends: why no other epoch may begin; empty where one may.
        """
        opened = self.open[job.number]
        try:
            return self._reported(opened, job, result, ends)
        except UpdateFinishedTrialError:
            self._lost(job.number)
            return Verdict.STOP

    def _reported(self, opened: OpenTrial, job: TrialJob, result: EpochResult, ends: str) -> Verdict:
        if result.note:
            self.emit(TrialNoted(job.number, result.note))
        if result.epoch <= job.start:  # trained again, for want of a checkpoint: the study knows its value
            return self._put_back_in_time(job, ends)
        if not math.isfinite(result.value):  # Optuna would keep an infinity, possibly as the best value
            reason = f"diverged: the value after epoch {result.epoch} is {result.value}"
            self._end(opened.trial, TrialState.PRUNED, TrialOutcome.PRUNED, reason)
            return Verdict.STOP
        if result.latency:
            opened.trial.set_user_attr(LATENCY, round(result.latency.image_ms, 4))
            opened.trial.set_user_attr(BATCH_LATENCY, round(result.latency.batch_ms, 3))
        self._store(opened.trial, result.value, result.epoch, again=result.epoch <= opened.reported)
        opened.value, opened.epoch = result.value, result.epoch
        self.emit(EpochDone(job.number, result.epoch, result.value, result.seconds, result.details))
        self._time(opened, result)
        opened.unsaved += result.seconds
        if result.epoch >= self.plan.max_epochs:
            if result.right is not None:
                opened.trial.set_user_attr(RIGHT, result.right)
            self._end(opened.trial, TrialState.COMPLETE, TrialOutcome.COMPLETE, "full length", result.value)
            return Verdict.SAVE if self.keeps and self._is_kept(job.number) else Verdict.STOP
        pauses = self.pauses or BASELINE in opened.trial.user_attrs
        return self._paused(opened, job, ends) if pauses else self._pruned(opened, job, ends)

    def _store(self, trial: Trial, value: float, epoch: int, *, again: bool = False) -> None:
        """Stores the value of an epoch; again, if its first value was reported before its process ended."""
        if self.second is None and not again:
            trial.report(value, epoch)
        else:
            report_value(trial, value, epoch)

    def _is_kept(self, number: int) -> bool:
        """Whether the weights of a complete trial are kept, as matters stand."""
        stands = standing(self.study)
        return stands is not None and number in stands.kept

    def _time(self, opened: OpenTrial, result: EpochResult) -> None:
        """Keeps the trial's seconds an epoch: the median of a job's epochs after the first, which includes set-up."""
        opened.seconds.append(result.seconds)
        known = opened.trial.user_attrs.get(EPOCH_SECONDS)
        seconds = statistics.median(opened.seconds[1:] or opened.seconds)
        if known is None or (len(opened.seconds) > 1 and abs(seconds - known) > EPOCH_TOLERANCE * known):
            opened.trial.set_user_attr(EPOCH_SECONDS, round(seconds, 3))

    def _put_back_in_time(self, job: TrialJob, ends: str) -> Verdict:
        if ends:
            self.put_back(job.number, ends)
        return Verdict.STOP if ends else Verdict.TRAIN_ON

    def _paused(self, opened: OpenTrial, job: TrialJob, ends: str) -> Verdict:
        if opened.epoch >= job.end:
            opened.pausing = f"waits at {format_epochs(opened.epoch)}"
        else:
            opened.pausing = ends
        if opened.pausing:
            return Verdict.SAVE
        return Verdict.CHECKPOINT if self.resumable and opened.unsaved >= UNSAVED_SECONDS else Verdict.TRAIN_ON

    def _pruned(self, opened: OpenTrial, job: TrialJob, ends: str) -> Verdict:
        if self.second is None and opened.trial.should_prune():
            reason = f"not among the best at {format_epochs(opened.epoch)}"
        elif ends or opened.epoch >= job.end:
            reason = ends or "epoch budget spent"
        else:
            return Verdict.TRAIN_ON
        self._end(opened.trial, TrialState.PRUNED, TrialOutcome.PRUNED, reason)
        return Verdict.STOP

    def saved(self, message: Saved) -> Verdict:
        """Records a checkpoint between rungs, which is on disk."""
        opened = self.open[message.number]
        try:
            opened.trial.set_user_attr(SAVED, message.epoch)
        except UpdateFinishedTrialError:
            self._lost(message.number)
            return Verdict.STOP
        remove_checkpoints(self.checkpoints, opened.trial.user_attrs[SEED], before=message.epoch)
        opened.kept, opened.unsaved = message.epoch, 0.0
        return Verdict.TRAIN_ON

    # ---- a job ends

    def close(self, end: JobEnd) -> TrialEnded:
        """Records how a job ended; the trial's outcome."""
        opened = self.open[end.number]
        try:
            ended = opened.ended or self._outcome(opened, end)
        except UpdateFinishedTrialError:
            ended = self._lost(end.number)
        del self.open[end.number]
        return ended

    def _lost(self, number: int) -> TrialEnded:
        """A trial that another call ended, since this driver's lease had expired: it sticks to what is stored."""
        refresh(self.study)
        stored = self.study.trials[number]
        reason = f"another call ended it: {record(stored).reason}"
        return self._told(TrialEnded(number, TrialOutcome.PRUNED, value_of(stored), stored.last_step or 0, reason))

    def _outcome(self, opened: OpenTrial, end: JobEnd) -> TrialEnded:
        trial, reason = opened.trial, end.reason
        if end.kind is JobEndKind.SAVED:
            if not self.space.uses_images and saved_checkpoint(self.checkpoints, trial.user_attrs[SEED], opened.epoch):
                trial.set_user_attr(SAVED, opened.epoch)
            trial.set_user_attr(PAUSED, opened.epoch)  # after its checkpoint is safe
            remove_checkpoints(self.checkpoints, trial.user_attrs[SEED], before=opened.epoch)
            return self._told(TrialEnded(end.number, TrialOutcome.PAUSED, opened.value, opened.epoch, opened.pausing))
        if end.kind is JobEndKind.DIVERGED:
            return self._end(trial, TrialState.PRUNED, TrialOutcome.PRUNED, f"diverged: {reason}")
        if end.kind in PUT_BACK:
            key = trial.user_attrs[FINGERPRINT]
            self.losses[key] += 1
            if self.losses[key] < LOSSES_OF_A_CANDIDATE:
                return self.put_back(end.number, reason)
        if end.kind is JobEndKind.TRAINED:
            if opened.value is None and not opened.kept:
                reason = "the space's train() yielded nothing"
            else:
                value = self._value_at(opened)
                return self._end(trial, TrialState.COMPLETE, TrialOutcome.COMPLETE, "train() ended", value)
        return self._end(trial, TrialState.FAIL, TrialOutcome.FAILED, reason)

    def _value_at(self, opened: OpenTrial) -> float | None:
        """The last value reported, by this job or before it."""
        if opened.value is not None:
            return opened.value
        return self.study.trials[opened.trial.number].intermediate_values[opened.kept]

    def put_back(self, number: int, reason: str) -> TrialEnded:
        """Puts a trial back to its last checkpoint, where it waits; or without one it fails and is queued again."""
        opened = self.open[number]
        if opened.kept:
            opened.trial.set_user_attr(PAUSED, opened.kept)
            return self._told(TrialEnded(number, TrialOutcome.PAUSED, None, opened.kept, reason))
        opened.trial.set_user_attr(TRY_AGAIN, True)
        ended = self._end(opened.trial, TrialState.FAIL, TrialOutcome.QUEUED, reason)
        requeue(self.study, self.study.trials[number])
        return ended

    def put_all_back(self) -> None:
        """Puts back every open trial that has not ended: the search is interrupted."""
        refresh(self.study)
        for number in self.open:
            stored = self.study.trials[number]
            if not (stored.state.is_finished() or is_paused(stored)):
                with suppress(UpdateFinishedTrialError):  # by another call, since it was read
                    self.put_back(number, INTERRUPTED)
        self.open.clear()

    def _end(
        self, trial: Trial, state: TrialState, outcome: TrialOutcome, reason: str, value: float | None = None
    ) -> TrialEnded:
        trial.set_user_attr(REASON, reason)
        second = second_of(trial, self.second)
        values = value if value is None or second is None else [value, second]
        told = self._tell(trial.number, values, state)
        if SEED in told.user_attrs:
            remove_checkpoints(self.checkpoints, told.user_attrs[SEED])  # nobody will resume it
        return self._told(TrialEnded(trial.number, outcome, value_of(told), told.last_step or 0, reason))

    def _tell(self, number: int, values: float | list[float] | None, state: TrialState) -> FrozenTrial:
        """Ends a trial.

        Raises:
            UpdateFinishedTrialError: another call has ended it, perhaps a moment ago.
        """
        try:
            return self.study.tell(number, values, state=state)
        except ValueError:  # so says Optuna where it knows already
            refresh(self.study)
            if self.study.trials[number].state.is_finished():
                raise UpdateFinishedTrialError from None
            raise

    def _told(self, ended: TrialEnded) -> TrialEnded:
        if ended.number in self.open:
            self.open[ended.number].ended = ended
        self.emit(ended)
        return ended
