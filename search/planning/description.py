"""A plan in words, for a person."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from cifar.runtime.device import Device
from search.format import format_bytes, format_duration, format_epochs, format_limits, format_trials
from search.planning.forecast import Forecast, disk
from search.planning.plan import Plan
from search.planning.planner import FEWEST_IMAGES
from search.settings import SearchSettings

ENOUGH_TRIALS = 16
"""Full trials' worth of training below which a search is not expected to beat its default."""
TELLING_IMAGES = 200_000
"""Training images of a full trial below which it says little of a training many times as long. In quarters of an hour
on two cores, with 24,000 to 48,000 images a full trial, the best trials led the default by 4.4 to 5.7 points, and were
not ahead of it in trainings for the rest of the time (benchmarks/README.md)."""


def describe(plan: Plan, outlook: Forecast, settings: SearchSettings, device: Device) -> list[str]:
    """The plan of a study of images, line by line."""
    ending = time.strftime("%H:%M", time.localtime(time.time() + outlook.seconds))
    return [
        f"device      {device.describe()}, {settings.workers} worker{'s' * (settings.workers > 1)}",
        f"limits      {_limits(plan, settings)}",
        describe_rungs(plan),
        f"epoch       {plan.train_size:,} training images, validated on {plan.val_limit:,}; "
        f"about {outlook.epoch_seconds:.2g} s",
        f"expected    {format_trials(outlook.trials)} in {format_duration(outlook.seconds)}, until about {ending}",
        *_disk(plan, outlook, settings),
        *_few_images(plan),
        *_default_alone(plan, outlook, settings),
        *shortfalls(plan, outlook, settings),
    ]


def describe_rungs(plan: Plan) -> str:
    """The line about the rungs."""
    epochs = ", ".join([*map(str, plan.rungs[:-1]), format_epochs(plan.rungs[-1])])
    return f"rungs       {epochs}; one of {plan.eta} trials is trained beyond each"


def shortfalls(plan: Plan, outlook: Forecast, settings: SearchSettings) -> list[str]:
    """Lines about what the budgets are too small for; none where all is well."""
    return [*_short(plan, outlook, settings), *_few_trials(plan, outlook, settings)]


def _limits(plan: Plan, settings: SearchSettings) -> str:
    limits = plan.param_budgets or (plan.param_budget or 0,)
    parameters = f"{format_limits(limits)} parameters" if plan.param_budget else "no parameter limit"
    macs = f"{plan.mac_budget:,} multiply-accumulates an image" if plan.mac_budget else "no MAC limit"
    proposed = plan.mac_budget and settings.mac_budget is None
    note = " (MAC limit proposed for this machine; --mac-budget overrides it)" if proposed else ""
    return f"{parameters}, {macs}{note}"


def _disk(plan: Plan, outlook: Forecast, settings: SearchSettings) -> Iterator[str]:
    size = disk(plan, settings.pruner, outlook.trials, baseline=outlook.baseline)
    if size:
        yield f"disk        about {format_bytes(size)}, the checkpoints of paused trials"


def _few_images(plan: Plan) -> Iterator[str]:
    images = plan.train_size * plan.max_epochs
    if images < FEWEST_IMAGES / 2:
        yield f"short       a full trial sees {images:,} images only, too few to tell networks apart; give it more time"


def _default_alone(plan: Plan, outlook: Forecast, settings: SearchSettings) -> Iterator[str]:
    """Says where a search is expected to find nothing better than the default, trained for the whole time."""
    images, seconds = plan.train_size * plan.max_epochs, outlook.epoch_seconds * plan.max_epochs
    held = outlook.seconds * settings.workers / seconds if seconds else math.inf
    if settings.time_budget and settings.warm_start and held < ENOUGH_TRIALS and images < TELLING_IMAGES:
        retrained = "that is where most of it goes" if settings.retrain else "--retrain gives it most of the time"
        yield (
            f"default     {held:.1f} full trials of {images:,} images fit; below {ENOUGH_TRIALS} of "
            f"{TELLING_IMAGES:,}, the default trained alone for the whole time is expected to do as well; {retrained}"
        )


def _short(plan: Plan, outlook: Forecast, settings: SearchSettings) -> Iterator[str]:
    """Warns where a budget holds no full trial."""
    held = {}  # full trials, by option
    if settings.epoch_budget:
        held["--epoch-budget"] = settings.epoch_budget / plan.max_epochs
    if settings.time_budget and outlook.epoch_seconds:
        held["--time-budget"] = settings.time_budget * settings.workers / outlook.epoch_seconds / plan.max_epochs
    option = min(held, key=lambda name: held[name], default=None)
    if option is not None and held[option] < 1:
        full = f"one full trial of {format_epochs(plan.max_epochs)}"
        yield (
            f"short       {option} holds {held[option]:.2g} of {full}, so none is "
            "sure to be complete; raise it, or lower --max-epochs"
        )


def _few_trials(plan: Plan, outlook: Forecast, settings: SearchSettings) -> Iterator[str]:
    """Warns where too few trials are expected to reach the last rung by promotion or pruning."""
    needed = plan.eta ** (len(plan.rungs) - 1)
    if settings.pruner != "none" and outlook.trials < needed:
        yield (
            f"few         {format_trials(outlook.trials)} cannot fill {len(plan.rungs)} rungs, beyond each of which "
            f"one of {plan.eta} is trained: that takes {needed}; allow more, or raise --min-epochs"
        )
