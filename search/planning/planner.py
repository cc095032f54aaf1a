"""How a search spends its time: rungs, images an epoch, and how large networks may be, from this machine's speed.

Everything is counted in *images of a full trial*: what a trial that is never pruned trains on. On a fast machine a
full trial is many epochs of all images. On a slow one an epoch is shortened to a fixed subset and networks are
limited in multiply-accumulates, so that the time still pays for several full trials.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch

from cifar.candidate import Candidate
from cifar.data.images import ImageSet
from cifar.data.prepare import PreparedData
from cifar.data.splits import TrainingSplit
from cifar.networks.resnet import ResNetConfig
from cifar.runtime.device import Device
from cifar.train import Training
from search.format import format_bytes, format_duration, format_limits
from search.planning.forecast import disk, shortfalls
from search.settings import DEFAULT_TRIALS, SearchSettings, StudyError
from spaces.base import SearchSpace

FULL_TRIALS = 8  # full trials' worth of training that a time budget should hold
ENOUGH_IMAGES = 400_000  # a full trial of nine epochs of CIFAR-10: no need to limit the networks
FEWEST_IMAGES = 50_000  # below this, trials on CIFAR-10 do not tell a good network from a bad one
SMALLEST_MAC_BUDGET = 8_000_000  # multiply-accumulates of an image of 32 x 32 pixels
FEWEST_EPOCHS = 8  # of a full trial, so that bad trials end early: rungs 1, 3, 9 with eta 3; 1, 2, 4, 8 with eta 2
LOWEST_RUNG = 1 / 32  # of a full trial's epochs, for promotion: lower values seldom tell trials apart
MOST_EPOCHS = 81
TYPICAL_COST = 1.4  # of a proposed network beside a plain one of as many MACs: narrow, deep or of 1x1 kernels (CPU)
STARTUP_SHARE = 0.25  # of the expected trials: as many are random before the sampler learns, and 3 to 10
EVALUATION_COST = 1 / 3  # of an image's training: the forward pass of forward and backward
EVALUATED_SHARE = 0.3  # validation images of a trial, as a share of its training images: a tenth of its time
PROBES = (8, 16, 48, 96)  # first-stage channels of networks of [2, 2, 2] blocks
PROBE_IMAGES = 256
PROBE_SECONDS = 4.0  # that one network may take; where it would take longer, its speed is left to extrapolation


@dataclass(frozen=True)
class Speed:
    """How fast this machine trains, by the size of the network."""

    points: tuple[tuple[int, float], ...]
    """(multiply-accumulates an image, seconds an image), by size."""

    def seconds(self, macs: float) -> float:
        """Seconds to train on one image, between the measured sizes by a straight line, beyond them in proportion."""
        for (low, a), (high, b) in zip(self.points, self.points[1:], strict=False):
            if macs <= high:
                share = max(0.0, macs - low) / (high - low)
                return a + share * (b - a)
        macs_last, seconds_last = self.points[-1]
        return seconds_last * macs / macs_last

    def largest(self, seconds: float) -> float:
        """Multiply-accumulates of the largest network that trains on an image in `seconds`."""
        low, high = 0.0, 1e12
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.seconds(middle) <= seconds else (low, middle)
        return low


def measure_speed(device: Device) -> Speed:
    """Times the real training loop on random images, smallest network first; a few seconds in all."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (PROBE_IMAGES, 3, 32, 32), dtype=torch.uint8, generator=generator)
    labels = torch.arange(PROBE_IMAGES) % 10
    split = TrainingSplit(ImageSet(images, labels), ImageSet(images[:0], labels[:0]), tuple("0123456789"))
    points: list[tuple[int, float]] = []
    for width in PROBES:
        network = ResNetConfig(channels=(width, 2 * width, 4 * width), stem=width)
        macs = network.cost().macs
        if points and 3 * PROBE_IMAGES * points[-1][1] * macs / points[-1][0] > PROBE_SECONDS:
            break
        training = Training(Candidate(network), split, device=device, epochs=3, seed=0)
        seconds = [result.seconds for result in training.run()]  # the first epoch warms up
        points.append((macs, min(seconds[1:]) / PROBE_IMAGES))
    return Speed(tuple(points))


@dataclass(frozen=True)
class Plan:
    """What every trial of a study has in common; kept in the study, so that values stay comparable."""

    min_epochs: int
    """Epochs of the first rung, r."""
    max_epochs: int
    """Epochs of a full trial, R."""
    eta: int
    """Reduction factor."""
    train_size: int
    """Training images an epoch."""
    val_size: int
    """Images of the training set kept apart for validation."""
    val_limit: int
    """How many of those a trial is validated on after each epoch: a fixed, stratified subset."""
    param_budget: int | None
    """Most parameters; None where the space has no limit."""
    mac_budget: int | None
    """Most multiply-accumulates an image; None is no limit."""
    image_size: int = 32
    """Height and width of the images in pixels."""
    from_top: bool = False
    """Whether rungs are counted down from R (for promotion) or up from r (for Optuna's pruners)."""
    startup_trials: int = 10
    """Trials before the sampler learns from their values; known good points that are tried first count."""
    param_budgets: tuple[int, ...] = ()
    """The limits, of which each trial keeps one, where there are several; `param_budget` is then the largest."""

    @property
    def rungs(self) -> list[int]:
        """Epochs at which trials are compared, the full length last."""
        count = rungs_from_top if self.from_top else rungs
        return count(self.min_epochs, self.max_epochs, self.eta)


@dataclass(frozen=True)
class Forecast:
    """What a plan is expected to take on this machine."""

    epoch_seconds: float
    """Seconds of an epoch of a network as large as the limits allow."""
    trial_epochs: float
    """Mean epochs of a trial, pruning considered."""
    trials: int
    """Trials that the time or trial budget holds."""
    seconds: float
    """Until the end."""


def rungs(min_epochs: int, max_epochs: int, eta: int) -> list[int]:
    """r, r*eta, r*eta^2, ... below R, and R; in whole numbers, since a floored logarithm loses a rung at 243/3."""
    found, epochs = [], min_epochs
    while epochs < max_epochs:
        found.append(epochs)
        epochs *= eta
    return [*found, max_epochs]


def rungs_from_top(min_epochs: int, max_epochs: int, eta: int) -> list[int]:
    """R, R/eta, R/eta^2, ... not below r, rounded up, rising: trials of the last rungs are trained R/eta longer, not
    almost to R as where a ladder from below ends.
    """
    found, divisor = [max_epochs], eta
    while -(-max_epochs // divisor) >= min_epochs and found[-1] > 1:
        found.append(-(-max_epochs // divisor))
        divisor *= eta
    return found[::-1]


def plan_without_images(settings: SearchSettings, space: SearchSpace) -> Plan:
    """The plan for a space that has a trainer of its own: epochs only.

    Raises:
        StudyError: the settings contradict each other or the space.
    """
    max_epochs = settings.max_epochs or space.max_epochs or FEWEST_EPOCHS
    if space.max_epochs and max_epochs > space.max_epochs:
        raise StudyError(
            "--max-epochs must not exceed what the space can train",
            got=f"{max_epochs}, of at most {space.max_epochs}",
            remedy="Lower it",
        )
    _require_first_rung(settings, max_epochs)
    return Plan(
        min_epochs=settings.min_epochs or _first_rung(max_epochs, settings),
        max_epochs=max_epochs,
        eta=settings.reduction,
        from_top=settings.pruner == "promotion",
        train_size=0,
        val_size=0,
        val_limit=0,
        param_budget=space.param_budget,
        mac_budget=space.mac_budget,
        param_budgets=settings.param_budgets,
    )


def make_plan(settings: SearchSettings, data: PreparedData, param_budget: int | None, speed: Speed) -> Plan:
    """The plan for a new study; what the settings say stands, the rest is fitted to the speed and the time budget.

    Args:
        settings: what the user asked for.
        data: the data set.
        param_budget: the space's limit, if any.
        speed: of this machine.

    Raises:
        StudyError: the settings contradict each other or the data.
    """
    train_count = data.train_count - settings.val_size
    if train_count < 1:
        raise StudyError(
            "--val-size must leave images to train on",
            got=f"{settings.val_size} of {data.train_count}",
            remedy="Lower it",
        )
    if settings.train_size and settings.train_size > train_count:
        raise StudyError(
            "--train-size must not exceed the training split",
            got=settings.train_size,
            remedy=f"At most {train_count}",
        )
    largest = _largest_macs(param_budget, data.image_size)
    mac_budget = settings.mac_budget or None
    images = 3.0 * ENOUGH_IMAGES
    if settings.time_budget:
        trial_seconds = settings.time_budget / FULL_TRIALS / TYPICAL_COST / (1 + EVALUATION_COST * EVALUATED_SHARE)
        if settings.mac_budget is None and trial_seconds / speed.seconds(largest) < ENOUGH_IMAGES:
            fitting = speed.largest(trial_seconds / FEWEST_IMAGES)
            mac_budget = max(_two_digits(SMALLEST_MAC_BUDGET * _area(data.image_size)), _two_digits(fitting))
            mac_budget = None if mac_budget >= largest else mac_budget
        images = trial_seconds / speed.seconds(mac_budget or largest)
    max_epochs, train_size = _epochs(settings, images, train_count)
    _require_first_rung(settings, max_epochs)
    plan = Plan(
        min_epochs=settings.min_epochs or _first_rung(max_epochs, settings),
        max_epochs=max_epochs,
        eta=settings.reduction,
        from_top=settings.pruner == "promotion",
        train_size=train_size,
        val_size=settings.val_size,
        val_limit=min(settings.val_size, max(1000, round(train_size * EVALUATED_SHARE))),
        param_budget=param_budget,
        mac_budget=mac_budget,
        image_size=data.image_size,
        param_budgets=settings.param_budgets,
    )
    expected = forecast(plan, settings, speed).trials
    return replace(plan, startup_trials=max(3, min(10, round(STARTUP_SHARE * expected))))


def _require_first_rung(settings: SearchSettings, max_epochs: int) -> None:
    if settings.min_epochs and settings.min_epochs > max_epochs:
        raise StudyError(
            "--min-epochs must not exceed the epochs of a full trial",
            got=f"{settings.min_epochs} of {max_epochs}",
            remedy="Lower it, or give --max-epochs",
        )


def _area(image_size: int) -> float:
    """Pixels of an image beside those of CIFAR-10; multiply-accumulates grow with them."""
    return (image_size / 32) ** 2


def _largest_macs(param_budget: int | None, image_size: int) -> float:
    """Multiply-accumulates of a network of the usual shape at the parameter limit."""
    usual = ResNetConfig(blocks=(3, 4, 3), channels=(66, 132, 264), stem=66).cost()
    return _area(image_size) * usual.macs * (param_budget or usual.parameters) / usual.parameters


def _epochs(settings: SearchSettings, images: float, train_count: int) -> tuple[int, int]:
    """R and the images an epoch, so that both multiply to about `images`."""
    size = settings.train_size or train_count
    least = rungs(1, FEWEST_EPOCHS, settings.reduction)[-2] * settings.reduction
    max_epochs = settings.max_epochs or min(MOST_EPOCHS, max(least, int(images / size)))
    if settings.max_epochs is None and settings.pruner != "promotion":  # the nearest full ladder below: r * eta^k
        ladder = settings.reduction ** _divisions(max_epochs, settings.reduction)
        max_epochs = max_epochs // ladder * ladder
    if settings.train_size is None:
        size = min(train_count, max(_fewest(train_count), _two_digits(images / max_epochs)))
    return max_epochs, size


def _fewest(train_count: int) -> int:
    """Images of the shortest epoch: four batches."""
    return min(train_count, 512)


def _divisions(max_epochs: int, eta: int) -> int:
    """How often a ladder up to R divides by eta: as many whole times as leave a first rung of 1 to eta - 1."""
    count = 0
    while max_epochs >= eta:
        max_epochs //= eta
        count += 1
    return count


def _first_rung(max_epochs: int, settings: SearchSettings) -> int:
    if settings.pruner == "promotion":
        return max(1, math.ceil(max_epochs * LOWEST_RUNG))
    first: int = max_epochs // settings.reduction ** _divisions(max_epochs, settings.reduction)
    return first


def _two_digits(value: float) -> int:
    """Rounded down to two significant digits."""
    if value < 10:
        return int(value)
    unit = 10 ** (int(math.log10(value)) - 1)
    return int(value // unit * unit)


def forecast(plan: Plan, settings: SearchSettings, speed: Speed) -> Forecast:
    """What the plan will take; trials as Hyperband runs them, the first of each bracket to the end."""
    macs = plan.mac_budget or _largest_macs(plan.param_budget, plan.image_size)
    images = plan.train_size + EVALUATION_COST * plan.val_limit
    return forecast_at(plan, settings, TYPICAL_COST * images * speed.seconds(macs))


def forecast_at(plan: Plan, settings: SearchSettings, epoch_seconds: float, started: int = 0) -> Forecast:
    """What a call will take at so many seconds an epoch; 0 where no time passes, as with recorded curves.

    Args:
        plan: of the study.
        settings: of the call.
        epoch_seconds: of a typical trial.
        started: trials of earlier calls.
    """
    trial_epochs, first_epochs = float(plan.max_epochs), 0.0
    if settings.pruner == "promotion":
        trial_epochs = bracket_epochs(plan.rungs, plan.eta)[0]
    elif settings.pruner != "none":
        trial_epochs = mean_epochs(plan.rungs, plan.eta)
        first_epochs = sum(plan.max_epochs - epochs for epochs in bracket_epochs(plan.rungs, plan.eta))
    limited = settings.time_budget or settings.epoch_budget
    trials = (settings.max_trials or (math.inf if limited else DEFAULT_TRIALS)) - started
    if settings.epoch_budget:
        trials = min(trials, (settings.epoch_budget - first_epochs) / trial_epochs)
    seconds = (max(0, trials) * trial_epochs + first_epochs) * epoch_seconds / settings.workers
    if settings.time_budget and settings.time_budget < seconds:
        seconds = settings.time_budget
        trials = (seconds * settings.workers / epoch_seconds - first_epochs) / trial_epochs
    return Forecast(epoch_seconds, trial_epochs, max(0 if started else 1, int(trials)), seconds)


def mean_epochs(ladder: Sequence[int], eta: int) -> float:
    """Mean epochs of a trial under Hyperband, bracket s being given eta^s / (s + 1) of the trials."""
    weights = [float(eta) ** s / (s + 1) for s in reversed(range(len(ladder)))]
    return sum(w * n for w, n in zip(weights, bracket_epochs(ladder, eta), strict=True)) / sum(weights)


def bracket_epochs(ladder: Sequence[int], eta: int) -> list[float]:
    """Mean epochs of a trial of each bracket: it begins at a rung, and one of eta trials goes on at each."""
    means = []
    for first in range(len(ladder)):
        steps = enumerate(pairwise(ladder[first:]), 1)
        means.append(ladder[first] + sum((high - low) / float(eta) ** i for i, (low, high) in steps))
    return means


def describe(plan: Plan, outlook: Forecast, settings: SearchSettings, device: Device) -> list[str]:
    """The plan in lines for a person."""
    several = plan.param_budgets or (plan.param_budget or 0,)
    limits = [f"{format_limits(several)} parameters" if plan.param_budget else "no parameter limit"]
    limits.append(f"{plan.mac_budget:,} multiply-accumulates an image" if plan.mac_budget else "no MAC limit")
    proposed = plan.mac_budget and settings.mac_budget is None
    note = " (MAC limit proposed for this machine; --mac-budget overrides it)" if proposed else ""
    images = plan.train_size * plan.max_epochs
    warning = f"short       a full trial sees {images:,} images only, too few to tell networks apart; give it more time"
    ending = time.strftime("%H:%M", time.localtime(time.time() + outlook.seconds))
    return [
        f"device      {device.describe()}, {settings.workers} worker{'s' * (settings.workers > 1)}",
        f"limits      {', '.join(limits)}{note}",
        f"rungs       {', '.join(map(str, plan.rungs))} epochs; one of {plan.eta} trials goes on at each",
        f"epoch       {plan.train_size:,} training images, validated on {plan.val_limit:,}; "
        f"about {outlook.epoch_seconds:.2g} s",
        f"expected    {outlook.trials} trials in {format_duration(outlook.seconds)}, until about {ending}",
        *_disk_lines(plan, outlook, settings),
        *([warning] if images < FEWEST_IMAGES / 2 else []),
        *shortfalls(plan, outlook, settings),
    ]


def _disk_lines(plan: Plan, outlook: Forecast, settings: SearchSettings) -> list[str]:
    taken = disk(plan, settings.pruner, outlook.trials)
    return [f"disk        about {format_bytes(taken)}, the checkpoints of paused trials"] if taken else []
