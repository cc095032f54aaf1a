"""The weights of a study's leader and of its baseline, kept so that they predict without a retraining.

A worker saves a trial that ends at full length if it leads then, or is the baseline. When a call of the search ends,
what it saved becomes a model in the study's folder, `models/trial-<number>`, which `search.predict` and `search.submit`
take; models and checkpoints of trials that were overtaken are removed.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from cifar.candidate import Candidate
from cifar.checkpoint import TrainedModel, load, save_model
from cifar.data.prepare import PreparedData
from cifar.data.splits import TrainingSplit, load_training_split
from cifar.errors import CheckpointError
from cifar.runtime.device import Device
from cifar.train import Training
from search.planning.plan import Plan
from search.study.attributes import record
from search.study.checkpoints import checkpoint_names
from search.study.remote import Place, StoreError, local_copy
from search.study.standing import standing
from search.study.trials import distinct, reached
from spaces.base import SearchSpace
from spaces.multi_limit import MultiLimitSpace

MODELS = "models"
"""Folder of the models that are kept, in the study's."""


def trains_on_images(space: SearchSpace) -> bool:
    """Whether the space's candidates are `cifar` candidates, trained by the default `train`."""
    trainer = space.first if isinstance(space, MultiLimitSpace) else space
    return type(trainer).train is SearchSpace.train


def model_folder(study_folder: Path, number: int) -> Path:
    """Where the model of a trial lies if it is kept."""
    return study_folder / MODELS / f"trial-{number}"


def keep_models(
    study: optuna.Study, folder: Path, checkpoints: Place, plan: Plan, data: PreparedData, device: Device
) -> None:
    """Makes models of the checkpoints of the trials whose weights are kept, and removes what was overtaken.

    Args:
        study: the study, no trial of which runs in this process.
        folder: the study's folder.
        checkpoints: folder of the checkpoints.
        plan: the study's plan.
        data: images that the trials were trained on.
        device: where a training is put together for its weights.
    """
    stands = standing(study)
    kept = stands.kept if stands else frozenset[int]()
    with suppress(StoreError):  # a later call keeps what cannot be read now
        saved = _saved(study, checkpoints)
        split = _split(data, plan, device) if any(t.number in kept for t, _ in saved) else None
        for trial, path in saved:
            if split is not None and trial.number in kept:
                _save_model(trial, path, model_folder(folder, trial.number), split, plan.max_epochs, device)
            path.unlink(missing_ok=True)  # another call may end at the same time
    for old in (folder / MODELS).glob("trial-*"):
        if old not in {model_folder(folder, number) for number in kept}:
            shutil.rmtree(old, ignore_errors=True)


def _saved(study: optuna.Study, folder: Place) -> list[tuple[FrozenTrial, Place]]:
    """Complete trials with the checkpoints that are there of them; the folder is read once, wherever it is."""
    there = {path.name: path for path in folder.glob("*.pt")}
    complete = distinct(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    names = {t.number: checkpoint_names(seed, reached(t)) for t in complete if (seed := record(t).seed) is not None}
    return [(t, there[name]) for t in complete for name in names.get(t.number, ()) if name in there]


def _split(data: PreparedData, plan: Plan, device: Device) -> TrainingSplit:
    """The trials' images, from which their normalisation follows."""
    split = load_training_split(data, val_size=plan.val_size, train_size=plan.train_size, val_limit=plan.val_limit)
    return split.to(device.torch_device)


def _save_model(
    trial: FrozenTrial, checkpoint: Place, folder: Path, split: TrainingSplit, epochs: int, device: Device
) -> None:
    """Saves the model that a trial's training ended with; a checkpoint that cannot be read gives none."""
    held = record(trial)
    candidate = Candidate.from_dict(held.candidate or {}, where=f"trial {trial.number}")
    training = Training(candidate, split, device=device, epochs=epochs, seed=held.seed or 0, load_pretrained=False)
    try:
        with local_copy(checkpoint) as file:
            training.load_state_dict(load(file, device.torch_device))
    except CheckpointError:
        return
    save_model(folder, TrainedModel(training.final_network(), candidate, training.normalization, training.class_names))
