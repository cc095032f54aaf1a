"""How long a run trains: as asked, or as its time budget allows."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from cifar.candidate import Candidate
from cifar.data.images import ImageSet
from cifar.data.splits import TrainingSplit
from cifar.prediction import predict_probabilities
from cifar.recipe import Recipe
from cifar.resizing import training_side
from cifar.runtime.device import Device
from cifar.train import EpochResult, Training
from search.format import format_duration
from search.retraining.settings import RetrainSettings
from search.settings import StudyError

TIMED_IMAGES = 2048
"""Images of an epoch that is timed to fit a run into a time budget."""
TIMED_EPOCHS = 3
"""Short epochs that are timed, the first of which warms up."""
SAFETY = 0.92
"""Share of a time budget that is planned at first; the rest is for slower stretches and the report."""
TRAINED_SHARE = 0.97
"""Share of a time budget after which training ends; the rest is for the test images and the report."""
RECENT_EPOCHS = 5
"""Epochs whose seconds tell how fast the next ones will be."""


def planned_epochs(
    candidate: Candidate,
    split: TrainingSplit,
    settings: RetrainSettings,
    device: Device,
    say: Callable[[str], None],
    timed: float | None = None,
) -> float:
    """Passes over the training images: as asked, or the recipe's, and no more than the time budget allows.

    An epoch's seconds are `timed`, or else timed here where there is a time budget.

    Raises:
        StudyError: the time budget allows no batch.
    """
    wanted = settings.epochs or candidate.recipe.epochs
    if settings.time_budget is None:
        return wanted
    seconds = timed or epoch_seconds(candidate, split, device)
    fitting = SAFETY * settings.time_budget / seconds
    epochs = min(wanted, round(fitting, 2))
    say(
        f"an epoch takes about {seconds:.1f} s: {epochs:g} of {wanted:g} epochs fit into "
        f"{format_duration(settings.time_budget)}"
    )
    if epochs * len(split.train) < candidate.recipe.batch_size:
        raise StudyError(
            "--time-budget must allow at least one batch",
            got=format_duration(settings.time_budget),
            remedy="Give it more time",
        )
    return epochs


def refitted_epochs(training: Training, history: Sequence[EpochResult], seconds_left: float, most: float) -> float:
    """Passes of the whole run that the seconds left allow at the speed of the latest epochs, the first aside.

    A run is timed for seconds before it begins, and its speed changes: the machine does something else, the network is
    compiled. Without this it would end long before its time, or long after.

    Args:
        training: the run, after an epoch.
        history: its epochs so far.
        seconds_left: until it must end.
        most: passes that the recipe has at most.
    """
    timed = history[1:][-RECENT_EPOCHS:]
    if not timed:
        return training.length
    recipe, side = training.recipe, training.side
    share, ratio = recipe.full_resolution_after, (training_side(recipe, side, 0.0) / side) ** 2
    an_epoch = statistics.median(e.seconds / _work(e.epoch, training.length, share, ratio) for e in timed)
    return min(most, affordable_epochs(training.epoch, seconds_left / an_epoch, share, ratio))


def affordable_epochs(done: float, left: float, share: float, ratio: float) -> float:
    """Length of a run, in epochs, of which some are done and the rest costs as much as `left` epochs of full images.

    Args:
        done: epochs done.
        left: epochs of full images that can be paid for.
        share: share of the run whose images are small.
        ratio: cost of a small image; a full one costs 1.
    """
    growing = (left + ratio * done) / (share * ratio + 1 - share)  # if small images are still to come
    return growing if share * growing > done else done + left


def _work(epoch: int, length: float, share: float, ratio: float) -> float:
    """Cost of an epoch, counted from 1, in epochs of full images."""
    small = min(1.0, max(0.0, share * length - (epoch - 1)))
    return ratio * small + 1 - small


def epoch_seconds(candidate: Candidate, split: TrainingSplit, device: Device) -> float:
    """Seconds of a whole epoch, validation included; the mean over the run, if its images grow."""
    recipe = candidate.recipe
    full, training = _image_seconds(replace(recipe, resolution_start=1.0), candidate, split, device)
    small, share = full, 0.0
    if recipe.resolution_start < 1:
        share = recipe.full_resolution_after
        small, _ = _image_seconds(replace(recipe, full_resolution_after=1.0), candidate, split, device)
    per_image = share * small + (1 - share) * full
    return per_image * len(split.train) + _validation_seconds(training, split.val.images[:TIMED_IMAGES]) * len(
        split.val
    )


def _image_seconds(
    recipe: Recipe, candidate: Candidate, split: TrainingSplit, device: Device
) -> tuple[float, Training]:
    """Seconds a training image by this recipe, and the run that was timed.

    The fastest of a few short epochs counts: the first warms up, and whatever else the machine does slows some of the
    others; of two, their mean was up to 1.5 times the seconds of the epochs that then followed.
    """
    size = min(len(split.train), max(TIMED_IMAGES, 4 * recipe.batch_size))
    some = ImageSet(split.train.images[:size], split.train.labels[:size])
    no_validation = ImageSet(split.val.images[:0], split.val.labels[:0])
    short = TrainingSplit(some, no_validation, split.class_names)
    training = Training(replace(candidate, recipe=recipe), short, device=device, epochs=TIMED_EPOCHS, seed=0)
    results = list(training.run())
    return min(result.seconds / result.images for result in results[1:]), training


def _validation_seconds(training: Training, images: Tensor) -> float:
    """Seconds that the prediction of one of the images takes."""
    started = time.monotonic()
    predict_probabilities(
        training.evaluated,
        images,
        training.normalization,
        device=training.device.torch_device,
        autocast=training.device.autocast,
    )
    return (time.monotonic() - started) / max(1, len(images))
