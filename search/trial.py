"""One trial from ask to tell: propose, check the limits, train epoch by epoch, report, prune."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import Trial, TrialState

from cifar.complexity import Cost
from cifar.data import TrainingSplit
from cifar.device import Device
from cifar.errors import Diverged, UserError
from cifar.seeds import derive_seed
from search.events import EpochDone, Event, TrialEnded, TrialStarted
from search.plan import Plan
from search.study import CANDIDATE, INTERRUPTED, REASON, WORKER, requeue, this_worker
from spaces.base import EpochReport, SearchSpace, TrialContext


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
        emit: is told what happens.
        out_of_time: asked after each epoch; True ends the trial there.
    """

    study: optuna.Study
    space: SearchSpace
    plan: Plan
    split: TrainingSplit | None
    device: Device
    seed: int
    emit: Callable[[Event], None]
    out_of_time: Callable[[], bool]

    def run(self, trial: Trial) -> TrialEnded:
        """Runs an asked trial to its end and tells the study; only Ctrl-C and errors of the user come through."""
        trial.set_user_attr(WORKER, this_worker())
        try:
            candidate = self.space.suggest(trial)
            seed = derive_seed(self.seed, "trial", trial.number)
            ended = self._infeasible(trial, candidate, seed) or self._train(trial, candidate, seed)
        except KeyboardInterrupt:
            with _ignoring_interrupts():  # a second Ctrl-C must not lose the trial
                self._interrupt(trial)
            raise
        except UserError as error:
            self._end(trial, TrialState.FAIL, "failed", str(error))
            raise
        except Exception as error:  # a bug in a space, or out of memory: the study goes on without this trial
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            ended = self._end(trial, TrialState.FAIL, "failed", reason)
        return ended

    def _interrupt(self, trial: Trial) -> None:
        """Fails the trial and queues it again, unless it was told just before."""
        if not self.study.trials[trial.number].state.is_finished():
            self._end(trial, TrialState.FAIL, "failed", INTERRUPTED)
            requeue(self.study, self.study.trials[trial.number])

    def _infeasible(self, trial: Trial, candidate: Any, seed: int) -> TrialEnded | None:
        """Records what the candidate is and costs; ends the trial untrained if it breaks a limit."""
        cost: Cost | None = getattr(candidate, "cost", None)
        trial.set_user_attr(CANDIDATE, candidate.to_dict())
        trial.set_user_attr("seed", seed)
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
            return self._end(trial, TrialState.PRUNED, "infeasible", "; ".join(broken))
        parameters, macs = (cost.parameters, cost.macs) if cost is not None else (None, None)
        self.emit(TrialStarted(trial.number, summary(candidate), parameters, macs))
        return None

    def _train(self, trial: Trial, candidate: Any, seed: int) -> TrialEnded:
        """Trains to the full length, or until the pruner, the deadline or divergence ends it."""
        context = TrialContext(self.plan.max_epochs, seed, self.device, self.split)
        last: EpochReport | None = None
        started = time.perf_counter()
        try:
            for report in self.space.train(candidate, context):
                last = self._report(trial, report, time.perf_counter() - started)
                started = time.perf_counter()
                if report.epoch >= self.plan.max_epochs:
                    break
                if trial.should_prune():
                    return self._end(trial, TrialState.PRUNED, "pruned", f"not among the best at {report.epoch} epochs")
                if self.out_of_time():
                    return self._end(trial, TrialState.PRUNED, "pruned", "time budget spent")
        except Diverged as error:
            return self._end(trial, TrialState.PRUNED, "pruned", f"diverged: {error}")
        if last is None:
            return self._end(trial, TrialState.FAIL, "failed", "the space's train() yielded nothing")
        return self._end(trial, TrialState.COMPLETE, "complete", "full length", last.value)

    def _report(self, trial: Trial, report: EpochReport, seconds: float) -> EpochReport:
        if not math.isfinite(report.value):  # Optuna would keep an infinity, possibly as the best value
            raise Diverged(f"the value after epoch {report.epoch} is {report.value}")
        trial.report(report.value, report.epoch)
        self.emit(EpochDone(trial.number, report.epoch, report.value, seconds, dict(report.details)))
        if report.epoch == 1:
            trial.set_user_attr("epoch_seconds", round(seconds, 3))
        return report

    def _end(self, trial: Trial, state: TrialState, name: str, reason: str, value: float | None = None) -> TrialEnded:
        trial.set_user_attr(REASON, reason)
        told = self.study.tell(trial, value, state=state)
        ended = TrialEnded(trial.number, name, told.value, told.last_step or 0, reason)
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
