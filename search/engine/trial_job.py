"""One stint of a trial: propose or go on, check the limits, train epoch by epoch, report; pause, prune or complete."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from cifar.candidate import fingerprint
from cifar.data.splits import TrainingSplit
from cifar.errors import Diverged, UserError
from cifar.networks.complexity import Cost
from cifar.runtime.device import Device
from cifar.runtime.seeds import derive_seed
from search.engine.events import EpochDone, Event, TrialEnded, TrialOutcome, TrialStarted
from search.planning.planner import Plan
from search.study.attributes import CANDIDATE, EPOCH_SECONDS, FINGERPRINT, PAUSED, REASON, REPEAT_OF
from search.study.study import INTERRUPTED, requeue
from search.study.trials import known_result
from spaces.base import EpochReport, SearchSpace, TrialContext, can_resume


@dataclass(frozen=True)
class Stint:
    """What a worker does next: train a trial from one rung to another."""

    trial: Trial
    """Asked of the study, or paused before."""
    start: int
    """Epochs trained before; 0 for a new trial."""
    end: int
    """Epochs at which it pauses, or is complete."""


@dataclass(frozen=True)
class TrialRunner:
    """Runs the trials of one worker.

    Args:
        study: with its sampler and pruner.
        space: proposes and trains candidates.
        plan: fidelity and limits.
        split: images, or None for a space without.
        device: where to train.
        seed: of the study; each trial's own derives from it and the trial's number.
        checkpoints: folder of the paused trials' states.
        emit: is told what happens.
        out_of_time: asked after each epoch; True ends or pauses the trial there.
        pauses: whether trials pause, to go on later, where others would be pruned.
        replicate: whether a repeated candidate is trained again.
    """

    study: optuna.Study
    space: SearchSpace
    plan: Plan
    split: TrainingSplit | None
    device: Device
    seed: int
    checkpoints: Path
    emit: Callable[[Event], None]
    out_of_time: Callable[[], bool]
    pauses: bool
    replicate: bool = False

    def run(self, stint: Stint) -> TrialEnded:
        """Runs a stint to its end and tells the study; only Ctrl-C and errors of the user come through."""
        trial = stint.trial
        try:
            candidate = self.space.suggest(trial)
            untrained = None if stint.start else self._infeasible(trial, candidate) or self._repeated(trial)
            ended = untrained or self._train(stint, candidate)
        except KeyboardInterrupt:
            with _ignoring_interrupts():  # a second Ctrl-C must not lose the trial
                self._interrupt(stint)
            raise
        except UserError as error:
            self._end(trial, TrialState.FAIL, TrialOutcome.FAILED, str(error))
            raise
        except Exception as error:  # a bug in a space, or out of memory: the study goes on without this trial
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            ended = self._end(trial, TrialState.FAIL, TrialOutcome.FAILED, reason)
        return ended

    def _interrupt(self, stint: Stint) -> None:
        """Back to the checkpoint it went on from; without one the trial fails and is queued again, unless told."""
        stored = self.study.trials[stint.trial.number]
        if stored.state.is_finished() or stored.user_attrs.get(PAUSED):
            return
        if stint.start:
            self._put_back(stint, INTERRUPTED)
        else:
            self._end(stint.trial, TrialState.FAIL, TrialOutcome.FAILED, INTERRUPTED)
            requeue(self.study, self.study.trials[stored.number])

    def _put_back(self, stint: Stint, reason: str) -> TrialEnded:
        """Pauses the trial where it went on from."""
        stint.trial.set_user_attr(PAUSED, stint.start)
        ended = TrialEnded(stint.trial.number, TrialOutcome.PAUSED, None, stint.start, reason)
        self.emit(ended)
        return ended

    def _infeasible(self, trial: Trial, candidate: Any) -> TrialEnded | None:
        """Records what the candidate is and costs; ends the trial untrained if it breaks a limit."""
        cost: Cost | None = getattr(candidate, "cost", None)
        described = candidate.to_dict()
        trial.set_user_attr(CANDIDATE, described)
        trial.set_user_attr(FINGERPRINT, fingerprint(described))
        trial.set_user_attr("seed", derive_seed(self.seed, "trial", trial.number))
        broken = []
        if cost is not None:
            trial.set_user_attr("parameters", cost.parameters)
            trial.set_user_attr("macs", cost.macs)
            limits = (
                ("parameters", cost.parameters, self.plan.param_budget),
                ("macs", cost.macs, self.plan.mac_budget),
            )
            for name, value, limit in limits:
                if limit is not None:
                    trial.set_constraint(name, value - limit)
                    if value > limit:
                        broken.append(f"{value:,} {name} exceed the limit of {limit:,}")
        if broken:
            return self._end(trial, TrialState.PRUNED, TrialOutcome.INFEASIBLE, "; ".join(broken))
        return None

    def _repeated(self, trial: Trial) -> TrialEnded | None:
        """Reuses the result of an earlier trial of the same candidate; training it again would tell nothing new."""
        if self.replicate:
            return None
        known = known_result(self.study.get_trials(deepcopy=False), trial.user_attrs[FINGERPRINT], trial.number)
        if known is None:
            return None
        trial.set_user_attr(REPEAT_OF, known.number)
        for epoch, value in sorted(known.intermediate_values.items()):
            trial.report(value, epoch)
        complete = known.state is TrialState.COMPLETE
        state = TrialState.COMPLETE if complete else TrialState.PRUNED
        return self._end(
            trial, state, TrialOutcome.REPEATED, f"repeats trial {known.number}", known.value if complete else None
        )

    def _train(self, stint: Stint, candidate: Any) -> TrialEnded:
        """Trains to the end of the stint, or until the pruner, the deadline or divergence ends it."""
        trial, cost = stint.trial, getattr(candidate, "cost", None)
        parameters, macs = (cost.parameters, cost.macs) if cost is not None else (None, None)
        self.emit(TrialStarted(trial.number, summary(candidate), parameters, macs))
        last: EpochReport | None = None
        started = time.perf_counter()
        try:
            for report in self.space.train(candidate, self._context(stint)):
                if report.epoch <= stint.start:  # a space that cannot go on trains these again
                    if self.out_of_time():
                        return self._put_back(stint, "time budget spent")
                    continue
                last = self._report(trial, report, time.perf_counter() - started)
                started = time.perf_counter()
                ended = self._after_epoch(stint, report)
                if ended:
                    return ended
        except Diverged as error:
            return self._end(trial, TrialState.PRUNED, TrialOutcome.PRUNED, f"diverged: {error}")
        if last is None and not stint.start:
            return self._end(trial, TrialState.FAIL, TrialOutcome.FAILED, "the space's train() yielded nothing")
        value = last.value if last else self.study.trials[trial.number].intermediate_values[stint.start]
        return self._end(trial, TrialState.COMPLETE, TrialOutcome.COMPLETE, "train() ended", value)

    def _after_epoch(self, stint: Stint, report: EpochReport) -> TrialEnded | None:
        """Pauses, prunes or completes the trial, or lets it train on."""
        if report.epoch >= self.plan.max_epochs:
            return self._end(stint.trial, TrialState.COMPLETE, TrialOutcome.COMPLETE, "full length", report.value)
        if self.pauses:
            if report.epoch >= stint.end:
                return self._pause(stint.trial, report, f"waits at {report.epoch} epochs")
            return self._pause(stint.trial, report, "time budget spent") if self.out_of_time() else None
        if stint.trial.should_prune():
            reason = f"not among the best at {report.epoch} epochs"
            return self._end(stint.trial, TrialState.PRUNED, TrialOutcome.PRUNED, reason)
        if self.out_of_time() or report.epoch >= stint.end:
            reason = "time budget spent" if self.out_of_time() else "epoch budget spent"
            return self._end(stint.trial, TrialState.PRUNED, TrialOutcome.PRUNED, reason)
        return None

    def _context(self, stint: Stint) -> TrialContext:
        """What the trial may use; a checkpoint that is gone means training from the start."""
        seed, path = stint.trial.user_attrs["seed"], self.checkpoint(stint.trial)
        if not (stint.start and can_resume(self.space)):
            return TrialContext(self.plan.max_epochs, seed, self.device, self.split)
        if not path.exists():
            start = 0 if self.space.uses_images else stint.start  # without images there may be nothing to save
            return TrialContext(self.plan.max_epochs, seed, self.device, self.split, start)
        return TrialContext(self.plan.max_epochs, seed, self.device, self.split, stint.start, path)

    def checkpoint(self, trial: Trial | FrozenTrial) -> Path:
        """The file of a trial's state; named by its seed, which a trial that continues it shares."""
        return self.checkpoints / f"{trial.user_attrs['seed']:016x}.pt"

    def _pause(self, trial: Trial, report: EpochReport, reason: str) -> TrialEnded:
        if report.save is not None:
            report.save(self.checkpoint(trial))
        trial.set_user_attr(PAUSED, report.epoch)  # after its checkpoint is safe
        ended = TrialEnded(trial.number, TrialOutcome.PAUSED, report.value, report.epoch, reason)
        self.emit(ended)
        return ended

    def _report(self, trial: Trial, report: EpochReport, seconds: float) -> EpochReport:
        if not math.isfinite(report.value):  # Optuna would keep an infinity, possibly as the best value
            raise Diverged(f"the value after epoch {report.epoch} is {report.value}")
        trial.report(report.value, report.epoch)
        self.emit(EpochDone(trial.number, report.epoch, report.value, seconds, dict(report.details)))
        if report.epoch == 1:
            trial.set_user_attr(EPOCH_SECONDS, round(seconds, 3))
        return report

    def _end(
        self, trial: Trial, state: TrialState, outcome: TrialOutcome, reason: str, value: float | None = None
    ) -> TrialEnded:
        trial.set_user_attr(REASON, reason)
        if "seed" in trial.user_attrs:
            self.checkpoint(trial).unlink(missing_ok=True)  # nobody will go on with it
        told = self.study.tell(trial.number, value, state=state)
        ended = TrialEnded(trial.number, outcome, told.value, told.last_step or 0, reason)
        self.emit(ended)
        return ended


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only there can handlers be set
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def summary(candidate: Any) -> str:
    """A candidate in a few words, such as `3-4-3 x 66-132-264 basic, sgd 0.1, cosine`."""
    network: Any = getattr(candidate, "network", None)
    recipe: Any = getattr(candidate, "recipe", None)
    if not (hasattr(network, "channels") and hasattr(recipe, "optimizer")):
        return str(getattr(candidate, "summary", type(candidate).__name__))
    shape = f"{'-'.join(map(str, network.blocks))} x {'-'.join(map(str, network.channels))} {network.block}"
    return f"{shape}, {recipe.optimizer.name} {recipe.optimizer.peak_lr:.2g}, {recipe.schedule.name}"
