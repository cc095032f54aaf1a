"""Trains one candidate in full, resumably, and evaluates it on the test images, which nothing else reads.

A run's folder:
    weights.pt candidate.json model.json      the model, for `search.submit` and `cifar.checkpoint.load_model`
    run.json                                  what was run; the same settings continue it
    test_metrics.json test_per_class.csv test_confusion.csv test_roc_auc.csv test_predictions.csv
                                              (test_tta_* too with --tta)
    tensorboard/                              with --tensorboard: an event file of the whole run
    checkpoint.pt                             only until the run is finished

`search.reporting.runs.run_report` adds history.csv, layers.csv and report.html.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cifar import checkpoint
from cifar.candidate import Candidate, Variant
from cifar.data.images import ImageSet
from cifar.data.prepare import PreparedData
from cifar.data.splits import TrainingSplit, load_test, load_training_split
from cifar.lr_range import suggest_lr
from cifar.recipe import Recipe
from cifar.runtime.device import Device
from cifar.train import Training
from search.format import format_lr
from search.retraining.final_evaluation import Outcome, RetrainResult, predict_test, write_evaluations
from search.retraining.longer_runs import Choice, choose_variant
from search.retraining.run_length import TRAINED_SHARE, planned_epochs
from search.retraining.run_record import RUN, Identity, RunRecord
from search.retraining.settings import CompileChoice, RetrainSettings
from search.retraining.tensorboard_events import EventFile, require_tensorboard
from search.retraining.training_loop import CHECKPOINT, Clock, Say, train
from search.settings import StudyError

EVENTS = "tensorboard"
DEFAULT_EMA_DECAY = 0.999


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
    longer: Sequence[Variant] = (),
    tensorboard: bool = False,
    compile: CompileChoice = "auto",
    clock: Clock = time.monotonic,
) -> RetrainResult:
    """Trains the candidate, or resumes the run in `folder`, and evaluates it on the test images.

    A run that is finished is evaluated again, not trained again.

    Args:
        candidate: network and recipe.
        title: name of the run for people.
        folder: where its files go.
        data: training images, and test images for the evaluation.
        settings: changes to the recipe.
        device: where to train.
        say: is told progress, line by line.
        longer: what is trained instead where a time budget allows more, in the order of cost.
        tensorboard: whether to write an event file too, in the folder `tensorboard`.
        compile: whether to compile the network; `auto` does where the run is long enough to gain, and never where
            deterministic algorithms are asked for. A compiled run that is continued ends in slightly other weights.
        clock: tells the seconds that the time budget is counted in.

    Raises:
        UserError: the folder holds another run, a setting is impossible, a package is missing, or the loss diverged.
    """
    began = clock()
    if tensorboard:
        require_tensorboard()
    test = load_test(data)  # a missing test split is told before the training, not after
    candidate = _fitted(candidate, data, settings)
    longer = [replace(variant, candidate=_fitted(variant.candidate, data, settings)) for variant in longer]
    split = load_training_split(data, val_size=candidate.recipe.val_size, train_size=settings.train_size)
    identity = _identity(candidate, data, settings)
    record = _started_run(folder, identity)
    if record is None:
        choice = _choice(candidate, longer, split, settings, device, say)
        record = _new_record(title, identity, candidate, choice, split, data.source, device, say)
    candidate = next((v.candidate for v in longer if v.passes == record.longer), candidate)
    if record.lr is not None:
        candidate = _with_lr(candidate, record.lr)
    begins = not record.finished and not (folder / CHECKPOINT).exists()
    training = Training(
        candidate, split, device=device, epochs=record.epochs, seed=settings.seed, load_pretrained=begins
    )
    record.write(folder)  # only now: what the user has to mend leaves no run behind
    with EventFile(folder / EVENTS if tensorboard else None) as events:
        if record.finished:
            model = checkpoint.load_model(folder)
            events.add_history(record.history)
        else:
            seconds = settings.time_budget and settings.time_budget * TRAINED_SHARE - (clock() - began)
            history = train(training, folder, record, say, events, compile, seconds, clock)
            ended = time.strftime("%Y-%m-%d %H:%M")
            record = replace(record, history=history, epochs=round(training.length, 2), ended=ended)
            model = _saved_model(training, candidate, folder)
        result = _evaluated(training, model, record, folder, test, tta=settings.tta)
        (folder / CHECKPOINT).unlink(missing_ok=True)
        accuracies = {name: evaluation.accuracy for name, evaluation in result.outcome.evaluations.items()}
        events.add_test(accuracies, len(record.history))
    return result


def require_same_run(candidate: Candidate, folder: Path, data: PreparedData, settings: RetrainSettings) -> None:
    """Checks that `retrain` with these arguments can begin, continue or evaluate a run in the folder.

    Raises:
        UserError: it holds another run, or a setting is impossible.
    """
    _started_run(folder, _identity(_fitted(candidate, data, settings), data, settings))


def _fitted(candidate: Candidate, data: PreparedData, settings: RetrainSettings) -> Candidate:
    """The candidate for the classes and image size of the data, its recipe with the settings' changes."""
    fitting = candidate.for_data(len(data.class_names), data.image_size)
    return replace(fitting, recipe=adapted(candidate.recipe, settings))


def _identity(candidate: Candidate, data: PreparedData, settings: RetrainSettings) -> Identity:
    """What must be the same for a run to be continued."""
    return Identity(candidate.fingerprint, data.fingerprint, replace(settings, tta=False))


def _started_run(folder: Path, identity: Identity) -> RunRecord | None:
    """The run that was started in the folder with the same settings."""
    if not (folder / RUN).exists():
        return None
    record = RunRecord.read(folder)
    if record.identity != identity:
        raise StudyError(
            "a run's folder continues with the settings that it began with",
            got=f"other settings for {folder}",
            remedy="Give another --out, or remove the folder",
        )
    return record


def _choice(
    candidate: Candidate,
    longer: Sequence[Variant],
    split: TrainingSplit,
    settings: RetrainSettings,
    device: Device,
    say: Say,
) -> Choice:
    """The variant that the settings name, or that suits their time; none where there is no choice."""
    if settings.time_budget is not None and longer:
        return choose_variant(settings.time_budget, candidate, longer, split, device, say)
    return Choice(next((variant for variant in longer if variant.passes == settings.longer), None), None)


def _new_record(
    title: str,
    identity: Identity,
    candidate: Candidate,
    choice: Choice,
    split: TrainingSplit,
    source: str,
    device: Device,
    say: Say,
) -> RunRecord:
    """The record of a run that begins; its learning rate is decided here, once, and its first length."""
    if choice.variant is not None:
        candidate = choice.variant.candidate
    lr = _peak_lr(candidate, split, identity.settings.seed, device, say)
    return RunRecord(
        title=title,
        identity=identity,
        epochs=planned_epochs(_with_lr(candidate, lr), split, identity.settings, device, say, choice.epoch_seconds),
        lr=lr,
        longer=None if choice.variant is None else choice.variant.passes,
        device=device.describe(),
        source=source,
        train_images=len(split.train),
        val_images=len(split.val),
    )


def _peak_lr(candidate: Candidate, split: TrainingSplit, seed: int, device: Device, say: Say) -> float:
    """The recipe's learning rate, or the one that a range test suggests where the recipe leaves it to that."""
    lr = candidate.recipe.optimizer.lr
    if not isinstance(lr, str):
        return lr
    found = suggest_lr(candidate, split, device=device, seed=seed)
    say(f"learning-rate range test: peak learning rate {format_lr(found)}")
    return found


def _with_lr(candidate: Candidate, lr: float) -> Candidate:
    optimizer = replace(candidate.recipe.optimizer, lr=lr)
    return replace(candidate, recipe=replace(candidate.recipe, optimizer=optimizer))


def _saved_model(training: Training, candidate: Candidate, folder: Path) -> checkpoint.TrainedModel:
    """The model at the end of training, saved."""
    model = checkpoint.TrainedModel(training.final_network(), candidate, training.normalization, training.class_names)
    checkpoint.save_model(folder, model)
    return model


def _evaluated(
    training: Training,
    model: checkpoint.TrainedModel,
    record: RunRecord,
    folder: Path,
    test: ImageSet,
    *,
    tta: bool,
) -> RetrainResult:
    """Evaluates the model on the test images and records the run as finished."""
    probabilities = predict_test(model, training.device, test, tta=tta)
    evaluations = write_evaluations(folder, probabilities, test, model.class_names)
    cost = model.candidate.cost
    finished = replace(record, cost=cost)
    finished.write(folder)
    outcome = Outcome(folder, finished, cost, evaluations, finished.val_accuracy(model.candidate.recipe))
    shown = ImageSet(training.images, training.labels)
    return RetrainResult(outcome, model, shown, training.fill, test, probabilities)
