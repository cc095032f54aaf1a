"""Makes the plan of a new study: epochs, images an epoch and how large networks may be, from this machine's speed.

Everything is counted in *images of a full trial*: what a trial that is never pruned trains on. On a fast machine a
full trial is many epochs of all images. On a slow one an epoch is shortened to a fixed subset and networks are
limited in multiply-accumulates, so that the time still pays for several full trials.

Where networks are limited, four times the time of a full trial makes it twice as long, and its networks twice as
costly. The default recipe's own lengths and sizes go together about like that: on two cores 3.2 passes over the images
with 33 million multiply-accumulates in 1.5 minutes, 8.8 passes with 118 million in 15 (benchmarks/README.md). A trial
of large networks and a single pass would rank candidates by what hardly matters later: batches of 128 instead of 512
images, 9 points ahead after 1.2 passes, were level after 4 (single runs, whose files were not kept).
"""

from __future__ import annotations

import math
from dataclasses import replace

from cifar.data.prepare import PreparedData
from cifar.data.splits import usual_val_size
from search.planning.forecast import EVALUATION_COST, TYPICAL_COST, forecast
from search.planning.plan import Plan
from search.planning.rungs import divisions, rungs
from search.planning.speed import Speed
from search.planning.usual_network import area, macs_at
from search.settings import SearchSettings, StudyError
from spaces.base import SearchSpace

FULL_TRIALS = 8  # full trials' worth of training that a time budget should hold
MOST_TOGETHER = 2  # workers whose time makes full trials longer: that of more makes them more
ENOUGH_IMAGES = 400_000  # a full trial of nine epochs of CIFAR-10: no need to limit the networks
FEWEST_IMAGES = 50_000  # below this, trials on CIFAR-10 do not tell a good network from a bad one
SMALLEST_MAC_BUDGET = 8_000_000  # multiply-accumulates of an image of 32 x 32 pixels
FEWEST_EPOCHS = 8  # in a full trial, so that bad trials end early: rungs 1, 3, 9 with eta 3; 1, 2, 4, 8 with eta 2
LOWEST_RUNG = 1 / 32  # share of a full trial's epochs, for promotion: shorter runs seldom tell trials apart
MOST_EPOCHS = 81
SHORTEST_EPOCH = 512  # images: four batches
STARTUP_SHARE = 0.25  # share of the expected trials that are random before the sampler learns; 3 to 10 trials
COMPARING_PRUNERS = ("promotion", "hyperband", "successive_halving")  # at rungs; the median's at every epoch
EVALUATED_SHARE = 0.3  # validation images of a trial as a share of its training images: a tenth of its time


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
    return Plan(
        min_epochs=_first_rung(settings, max_epochs),
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
        speed: how fast this machine trains.

    Raises:
        StudyError: the settings contradict each other or the data.
    """
    val_size = usual_val_size(data.train_count) if settings.val_size is None else settings.val_size
    train_count = _training_images(settings, data, val_size)
    mac_budget, images = _networks_and_images(settings, data.image_size, param_budget, speed)
    max_epochs, train_size = _epochs(settings, images, train_count)
    plan = Plan(
        min_epochs=_first_rung(settings, max_epochs),
        max_epochs=max_epochs,
        eta=settings.reduction,
        from_top=settings.pruner == "promotion",
        train_size=train_size,
        val_size=val_size,
        val_limit=min(val_size, max(1000, round(train_size * EVALUATED_SHARE))),
        param_budget=param_budget,
        mac_budget=mac_budget,
        image_size=data.image_size,
        param_budgets=settings.param_budgets,
        anneals=settings.pruner in COMPARING_PRUNERS,
    )
    expected = forecast(plan, settings, speed).trials
    return replace(plan, startup_trials=max(3, min(10, round(STARTUP_SHARE * expected))))


def _training_images(settings: SearchSettings, data: PreparedData, val_size: int) -> int:
    """Images of the training split; refuses sizes that it cannot have."""
    train_count = data.train_count - val_size
    if train_count < 1:
        raise StudyError(
            "--val-size must leave images to train on",
            got=f"{val_size} of {data.train_count}",
            remedy="Lower it",
        )
    if settings.train_size and settings.train_size > train_count:
        raise StudyError(
            "--train-size must not exceed the training split",
            got=settings.train_size,
            remedy=f"At most {train_count}",
        )
    return train_count


def _networks_and_images(
    settings: SearchSettings, image_size: int, param_budget: int | None, speed: Speed
) -> tuple[int | None, float]:
    """The MAC limit, and the images of a full trial that the time then pays for."""
    smallest, largest = SMALLEST_MAC_BUDGET * area(image_size), macs_at(param_budget, image_size)
    mac_budget = settings.mac_budget or None
    if not settings.time_budget:
        return mac_budget, 3.0 * ENOUGH_IMAGES
    seconds = settings.time_budget * min(settings.workers, MOST_TOGETHER) / FULL_TRIALS
    seconds /= TYPICAL_COST * (1 + EVALUATION_COST * EVALUATED_SHARE)
    if settings.mac_budget is None and seconds / speed.seconds(largest) < ENOUGH_IMAGES:
        times = seconds / (FEWEST_IMAGES * speed.seconds(smallest))  # those of the shortest trial worth its time
        fitting = speed.largest(seconds / (FEWEST_IMAGES * math.sqrt(max(1.0, times))))
        proposed = max(_two_digits(smallest), _two_digits(fitting))
        mac_budget = None if proposed >= largest else proposed
    return mac_budget, seconds / speed.seconds(mac_budget or largest)


def _epochs(settings: SearchSettings, images: float, train_count: int) -> tuple[int, int]:
    """Epochs of a full trial and images an epoch, whose product is about `images`."""
    size = settings.train_size or train_count
    fewest = rungs(1, FEWEST_EPOCHS, settings.reduction)[-2] * settings.reduction
    max_epochs = settings.max_epochs or min(MOST_EPOCHS, max(fewest, int(images / size)))
    if settings.max_epochs is None and settings.pruner != "promotion":  # the nearest full ladder below: r * eta^k
        ladder = settings.reduction ** divisions(max_epochs, settings.reduction)
        max_epochs = max_epochs // ladder * ladder
    if settings.train_size is None:
        size = min(train_count, max(SHORTEST_EPOCH, _two_digits(images / max_epochs)))
    return max_epochs, size


def _first_rung(settings: SearchSettings, max_epochs: int) -> int:
    """Epochs of the first rung, as given or chosen."""
    if settings.min_epochs and settings.min_epochs > max_epochs:
        raise StudyError(
            "--min-epochs must not exceed the epochs of a full trial",
            got=f"{settings.min_epochs} of {max_epochs}",
            remedy="Lower it, or give --max-epochs",
        )
    if settings.min_epochs:
        return settings.min_epochs
    if settings.pruner == "promotion":
        return max(1, math.ceil(max_epochs * LOWEST_RUNG))
    first: int = max_epochs // settings.reduction ** divisions(max_epochs, settings.reduction)
    return first


def _two_digits(value: float) -> int:
    """Rounded down to two significant digits."""
    if value < 10:
        return int(value)
    unit = 10 ** (int(math.log10(value)) - 1)
    return int(value // unit * unit)
