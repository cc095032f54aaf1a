"""What a plan is expected to take: time, trials at each rung, space on the disk."""

from __future__ import annotations

import math
from dataclasses import dataclass

from search.planning.plan import Plan
from search.planning.rungs import bracket_epochs, bracket_shares, mean_epochs
from search.planning.speed import Speed
from search.planning.usual_network import macs_at, parameters_at
from search.settings import DEFAULT_TRIALS, SearchSettings

TYPICAL_COST = 1.4  # time of a proposed network (narrow, deep, 1x1 kernels), as a multiple of a plain one's (CPU)
EVALUATION_COST = 1 / 3  # time to evaluate an image, as a share of training on it: forward without backward
BYTES_A_NUMBER = 4
COPIES = 1 + 5 / 3 + 2 / 3
"""Numbers that a checkpoint holds for each parameter, on average over the spaces: the weight; the optimizer's state,
one number with SGD and two with Adam and AdamW; a moving average in two of three trials."""


@dataclass(frozen=True)
class Forecast:
    """What a call of the search is expected to take on this machine."""

    epoch_seconds: float
    """Seconds of an epoch of a network as large as the limits allow."""
    trial_epochs: float
    """Mean epochs of a trial, pruning considered."""
    trials: int
    """Trials that the time, epoch or trial budget holds."""
    seconds: float
    """Seconds until the end."""
    baseline: bool = False
    """Whether one of the trials is a baseline, trained in full whatever the pruner."""


def forecast(plan: Plan, settings: SearchSettings, speed: Speed) -> Forecast:
    """What the first call of a study will take, from this machine's speed."""
    macs = plan.mac_budget or macs_at(plan.param_budget, plan.image_size)
    images = plan.train_size + EVALUATION_COST * plan.val_limit
    return forecast_at(plan, settings, TYPICAL_COST * images * speed.seconds(macs), baseline=settings.warm_start)


def forecast_at(
    plan: Plan, settings: SearchSettings, epoch_seconds: float, started: int = 0, *, baseline: bool = False
) -> Forecast:
    """What a call will take.

    Args:
        plan: what the trials have in common.
        settings: what the call is asked to do.
        epoch_seconds: seconds of a typical trial's epoch; 0 where no time passes, as with recorded curves.
        started: trials that earlier calls started.
        baseline: whether the call trains a baseline, in full.
    """
    trial_epochs, first_epochs = _epochs(plan, settings.pruner)
    if baseline:
        first_epochs += plan.max_epochs - trial_epochs
    trials = _trials_asked(settings) - started
    if settings.epoch_budget:
        trials = min(trials, (settings.epoch_budget - first_epochs) / trial_epochs)
    seconds = (max(0, trials) * trial_epochs + first_epochs) * epoch_seconds / settings.workers
    if settings.time_budget and settings.time_budget < seconds:
        seconds = settings.time_budget
        trials = (seconds * settings.workers / epoch_seconds - first_epochs) / trial_epochs
    return Forecast(epoch_seconds, trial_epochs, max(0 if started else 1, int(trials)), seconds, baseline)


def _epochs(plan: Plan, pruner: str) -> tuple[float, float]:
    """Mean epochs of a trial, and epochs on top: Optuna's pruners train the first trial of each bracket in full."""
    if pruner == "none":
        return float(plan.max_epochs), 0.0
    brackets = bracket_epochs(plan.rungs, plan.eta)
    if pruner == "promotion":
        return brackets[0], 0.0
    return mean_epochs(plan.rungs, plan.eta), sum(plan.max_epochs - epochs for epochs in brackets)


def _trials_asked(settings: SearchSettings) -> float:
    """Trials of the study in all that the settings allow; infinite where only time or epochs end the call."""
    limited = settings.time_budget or settings.epoch_budget
    return settings.max_trials or (math.inf if limited else DEFAULT_TRIALS)


def trials_reaching(plan: Plan, pruner: str, trials: int, *, baseline: bool = False) -> list[int]:
    """How many of the trials are expected to be trained up to each rung, the last included.

    Args:
        plan: what the trials have in common.
        pruner: which trials are trained beyond a rung.
        trials: how many start.
        baseline: whether one of them is trained in full in any case.
    """
    if baseline:
        return [1 + others for others in trials_reaching(plan, pruner, trials - 1)]
    count = len(plan.rungs)
    if pruner == "none":
        return [trials] * count
    if pruner in ("promotion", "successive_halving"):
        return [min(trials, max(1, trials // plan.eta**level)) for level in range(count)]
    brackets = bracket_shares(plan.rungs, plan.eta)
    shares = [
        sum(share / float(plan.eta) ** max(0, level - first) for first, share in enumerate(brackets))
        for level in range(count)
    ]
    return [min(trials, max(1, round(trials * share))) for share in shares]


def expected_parameters(plan: Plan) -> int | None:
    """Most parameters of an average trial: what the limits allow a network of the usual shape; None without limits."""
    found = []
    if plan.param_budget:
        limits = plan.param_budgets or (plan.param_budget,)
        found.append(sum(limits) // len(limits))
    if plan.mac_budget:
        found.append(parameters_at(plan.mac_budget, plan.image_size))
    return min(found, default=None)


def checkpoint_bytes(parameters: float) -> int:
    """Expected size of the file that a paused trial resumes from."""
    return round(BYTES_A_NUMBER * COPIES * parameters)


def disk(
    plan: Plan, pruner: str, trials: int, parameters: float | None = None, *, baseline: bool = False
) -> int | None:
    """Bytes of the checkpoints of trials that are paused when a call ends; None where unknown.

    Args:
        plan: what the trials have in common.
        pruner: only promotion pauses trials.
        trials: how many the call is expected to run.
        parameters: mean of the study's networks so far; None estimates it from the limits.
        baseline: whether one of them is trained in full in any case.
    """
    if pruner != "promotion" or not plan.train_size:
        return 0
    parameters = parameters or expected_parameters(plan)
    if parameters is None:
        return None
    return checkpoint_bytes(parameters) * (trials - trials_reaching(plan, pruner, trials, baseline=baseline)[-1])
