"""Trains one candidate in full, resumably, and reports it on the test images, which nothing else reads.

A run's folder:
    weights.pt candidate.json model.json      the model, for `search.submit` and `cifar.checkpoint.load_model`
    run.json                                  what was run; the same settings continue it
    history.csv                               one row an epoch
    test_metrics.json test_per_class.csv test_confusion.csv test_roc_auc.csv test_predictions.csv
                                              (test_tta_* too with --tta)
    layers.csv                                output shape, parameters, MACs and receptive field of each layer
    report.html                               curves, errors, pictures, the network; opens without a network
    tensorboard/                              with --tensorboard: an event file of the whole run
    checkpoint.pt                             only until the run is finished
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from cifar import checkpoint
from cifar.candidate import Candidate
from cifar.data.images import ImageSet
from cifar.data.prepare import PreparedData
from cifar.data.splits import TrainingSplit, load_test, load_training_split
from cifar.errors import Diverged
from cifar.files import read_json, write_json
from cifar.prediction import predict_probabilities
from cifar.recipe import Recipe
from cifar.runtime.device import Device
from cifar.train import EpochResult, Training
from search.format import format_duration
from search.retraining.run_record import RUN, Outcome, write_report
from search.retraining.tensorboard_events import EventFile, require_tensorboard
from search.settings import StudyError

CHECKPOINT = "checkpoint.pt"
EVENTS = "tensorboard"
TIMED_IMAGES = 2048  # of an epoch that is timed to fit a run into a time budget
SAFETY = 0.92  # share of a time budget that is planned; the rest is for slower stretches and the report
DEFAULT_EMA_DECAY = 0.999
COMPILE_FROM = {"cuda": 300.0}
"""Seconds left after the first epoch from which on `auto` compiles, by type of device; on others it never does.
On a CPU a compiled step is slower than the trainer's own (benchmarks/README.md)."""

Say = Callable[[str], None]
CompileChoice = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class RetrainSettings:
    """How a candidate is trained in full; None leaves the recipe's own."""

    epochs: float | None = None
    """Passes over the training images."""
    time_budget: float | None = None
    """Seconds that training may take; the epochs are fitted to it."""
    val_size: int | None = None
    """Training images kept for validation; 0 trains on all."""
    keep: str | None = None
    """last, best (by the recipe's monitor) or ema (a moving average)."""
    tta: bool = False
    """Whether test-time augmentation is reported too."""
    seed: int = 0
    """Of weights, data order and augmentation."""
    train_size: int | None = None
    """A fixed, stratified subset of the training images; None takes all."""


def adapted(recipe: Recipe, settings: RetrainSettings) -> Recipe:
    """The recipe with the settings' changes.

    Raises:
        ConfigError: the best weights are asked for without validation images.
    """
    changes: dict[str, Any] = {}
    if settings.val_size is not None:
        changes["val_size"] = settings.val_size
        if settings.val_size == 0:
            changes |= {"keep": "last", "early_stopping": 0}
    if settings.keep in ("last", "best"):
        changes |= {"keep": settings.keep, "ema_decay": 0.0}
    if settings.keep == "ema":
        changes |= {"keep": "last", "ema_decay": recipe.ema_decay or DEFAULT_EMA_DECAY}
    return replace(recipe, **changes)


def retrain(
    candidate: Candidate,
    title: str,
    folder: Path,
    data: PreparedData,
    settings: RetrainSettings,
    device: Device,
    say: Say,
    *,
    tensorboard: bool = False,
    compile: CompileChoice = "auto",
) -> Outcome:
    """Trains the candidate, or continues where a run in `folder` stopped, and reports it.

    Args:
        candidate: network and recipe.
        title: names the run for people.
        folder: where its files go.
        data: training images, and test images for the report.
        settings: changes to the recipe.
        device: where to train.
        say: is told progress, line by line.
        tensorboard: whether to write an event file too, in the folder `tensorboard`.
        compile: whether to compile the network; `auto` does where the run is long enough to gain, and never where
            deterministic algorithms are asked for. A run that is continued then ends in slightly other weights.

    Raises:
        UserError: the folder holds another run, a setting is impossible, a package is missing, or the loss diverged.
    """
    if tensorboard:
        require_tensorboard()
    test = load_test(data)  # a missing test split is told before the training, not after
    candidate = _fitted(candidate, data, settings)
    recipe = candidate.recipe
    split = load_training_split(data, val_size=recipe.val_size, train_size=settings.train_size)
    run = _started_run(folder, candidate, data, settings)
    asked = _identity(candidate, data, settings)
    if run is None:
        candidate = _with_lr(candidate, _peak_lr(candidate, split, settings, device, say))
        epochs = _epochs(candidate, split, settings, device, say)
        run = {
            "title": title,
            "asked": asked,
            "epochs": epochs,
            "lr": candidate.recipe.optimizer.lr,
            "device": device.describe(),
            "source": data.source,
            "train_images": len(split.train),
            "val_images": len(split.val),
            "history": [],
        }
    candidate = _with_lr(candidate, run.get("lr", candidate.recipe.optimizer.lr))
    begins = not run.get("finished") and not (folder / CHECKPOINT).exists()
    training = Training(
        candidate, split, device=device, epochs=run["epochs"], seed=settings.seed, load_pretrained=begins
    )
    write_json(folder / RUN, run)  # only now: what the user has to mend leaves no run behind
    with EventFile(folder / EVENTS if tensorboard else None) as events:
        if run.get("finished"):
            for epoch in run["history"]:
                events.add_epoch(epoch)
        else:
            _train(training, folder, run, say, events, compile)
        outcome = write_report(training, candidate, folder, run, test, tta=settings.tta)
        (folder / CHECKPOINT).unlink(missing_ok=True)
        accuracies = {name: evaluation.accuracy for name, evaluation in outcome.evaluations.items()}
        events.add_test(accuracies, len(run["history"]))
    return outcome


def require_same_run(candidate: Candidate, folder: Path, data: PreparedData, settings: RetrainSettings) -> None:
    """Checks that `retrain` with these arguments can begin, continue or report a run in the folder.

    Raises:
        UserError: it holds another run, or a setting is impossible.
    """
    _started_run(folder, _fitted(candidate, data, settings), data, settings)


def _fitted(candidate: Candidate, data: PreparedData, settings: RetrainSettings) -> Candidate:
    """The candidate for the classes and image size of the data, its recipe with the settings' changes."""
    fitting = candidate.for_data(len(data.class_names), data.image_size)
    return replace(fitting, recipe=adapted(candidate.recipe, settings))


def _identity(candidate: Candidate, data: PreparedData, settings: RetrainSettings) -> dict[str, Any]:
    """What must be the same for a run to be continued."""
    return {
        "candidate": candidate.fingerprint,
        "data": data.fingerprint,
        **asdict(replace(settings, tta=False)),
    }


def _started_run(
    folder: Path, candidate: Candidate, data: PreparedData, settings: RetrainSettings
) -> dict[str, Any] | None:
    """The run that was started in the folder with the same settings."""
    if not (folder / RUN).exists():
        return None
    run = read_json(folder / RUN)
    if run.get("asked") != _identity(candidate, data, settings):
        raise StudyError(
            "a run's folder continues with the settings that it began with",
            got=f"other settings for {folder}",
            remedy="Give another --out, or remove the folder",
        )
    return run


def _peak_lr(candidate: Candidate, split: TrainingSplit, settings: RetrainSettings, device: Device, say: Say) -> float:
    """The recipe's learning rate, or the one that a range test suggests where the recipe leaves it to that."""
    lr = candidate.recipe.optimizer.lr
    if not isinstance(lr, str):
        return lr
    from cifar.lr_range import suggest_lr

    found = suggest_lr(candidate, split, device=device, seed=settings.seed)
    say(f"learning-rate range test: peak learning rate {found:.3g}")
    return found


def _with_lr(candidate: Candidate, lr: float) -> Candidate:
    optimizer = replace(candidate.recipe.optimizer, lr=lr)
    return replace(candidate, recipe=replace(candidate.recipe, optimizer=optimizer))


def _epochs(candidate: Candidate, split: TrainingSplit, settings: RetrainSettings, device: Device, say: Say) -> float:
    """Length of the run: as asked, or the recipe's, and no longer than the time budget allows."""
    wanted = settings.epochs or candidate.recipe.epochs
    if settings.time_budget is None:
        return wanted
    seconds = _epoch_seconds(candidate, split, device)
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


def _epoch_seconds(candidate: Candidate, split: TrainingSplit, device: Device) -> float:
    """Seconds of a whole epoch, validation included, from three short ones, of which the first warms up."""
    size = min(len(split.train), max(TIMED_IMAGES, 4 * candidate.recipe.batch_size))
    some = ImageSet(split.train.images[:size], split.train.labels[:size])
    no_validation = ImageSet(split.val.images[:0], split.val.labels[:0])
    training = Training(
        candidate, TrainingSplit(some, no_validation, split.class_names), device=device, epochs=3, seed=0
    )
    results = list(training.run())
    per_image = sum(r.seconds for r in results[1:]) / sum(r.images for r in results[1:])
    started = time.perf_counter()
    validated = split.val.images[:TIMED_IMAGES]
    predict_probabilities(
        training.evaluated,
        validated,
        training.normalization,
        device=device.torch_device,
        autocast=device.autocast,
    )
    per_val_image = (time.perf_counter() - started) / max(1, len(validated))
    return per_image * len(split.train) + per_val_image * len(split.val)


def _train(
    training: Training, folder: Path, run: dict[str, Any], say: Say, events: EventFile, compile: CompileChoice
) -> None:
    """Runs to the end, saving after each epoch."""
    if (folder / CHECKPOINT).exists():
        saved = checkpoint.load(folder / CHECKPOINT, training.device.torch_device)
        training.load_state_dict(saved["training"])
        run["history"] = saved["history"]
        say(f"continuing after epoch {training.epoch} of {training.total_epochs}")
    for epoch in run["history"]:
        events.add_epoch(epoch)
    if compile == "on":
        _compile(training, say)
    undecided = compile == "auto" and not torch.are_deterministic_algorithms_enabled()
    try:
        for result in training.run():
            run["history"].append(asdict(result))
            events.add_epoch(asdict(result))
            say(_progress(result, training.total_epochs, run["epochs"]))
            checkpoint.save(folder / CHECKPOINT, {"training": training.state_dict(), "history": run["history"]})
            enough = COMPILE_FROM.get(training.device.torch_device.type, math.inf)
            if undecided and _seconds_left(result, run["epochs"]) >= enough:
                _compile(training, say)
            undecided = False
    except Diverged as error:
        raise StudyError(
            "a run must not diverge", got=error, remedy="Lower the recipe's learning rate; see search.lr_range"
        ) from None


def _compile(training: Training, say: Say) -> None:
    started = time.perf_counter()
    problem = training.compile()
    took = f"{time.perf_counter() - started:.0f} s"
    say(f"compiled in {took}" if problem is None else f"not compiled, which costs only speed: {problem}")


def _seconds_left(result: EpochResult, passes: float) -> float:
    """Seconds that the rest of a run of so many passes takes at the speed of this epoch."""
    return result.seconds * max(0.0, passes - result.epoch)


def _progress(result: EpochResult, total: int, passes: float) -> str:
    parts = [
        f"epoch {result.epoch:>3}/{total}",
        f"train loss {result.train_loss:.3f}, accuracy {100 * result.train_accuracy:5.2f} %",
    ]
    if result.val_accuracy is not None:
        parts.append(f"validation loss {result.val_loss:.3f}, accuracy {100 * result.val_accuracy:5.2f} %")
    parts.append(f"{result.seconds:.1f} s, {format_duration(_seconds_left(result, passes))} left")
    return "  ".join(parts)
