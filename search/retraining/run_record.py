"""The report of a run: its model saved, evaluated on the test images, and every table, figure and page written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from cifar import checkpoint
from cifar.candidate import Candidate
from cifar.data.images import ImageSet
from cifar.evaluate import Evaluation, evaluate, write_evaluation
from cifar.files import atomic_write, write_json
from cifar.networks.complexity import thop_parameters
from cifar.networks.receptive_field import LayerRow, layer_rows, write_layers
from cifar.prediction import predict_probabilities
from cifar.recipe import Recipe
from cifar.runtime.device import Device
from cifar.stats.roc import roc_curves
from cifar.train import Training
from search.format import format_duration
from search.reporting.pages import gallery
from search.reporting.pages.run_page import RunPage, write_run_page

RUN = "run.json"
PLAIN = "test"  # name of the main evaluation, and the beginning of its files' names
AUGMENTED = "test, with test-time augmentation"


@dataclass(frozen=True)
class Outcome:
    """What a finished run gave."""

    folder: Path
    title: str
    evaluations: dict[str, Evaluation]
    """By name; the first is of the plain test images."""
    parameters: int
    epochs: float
    """Passes over the training images."""
    seconds: float
    """Of training and validation."""
    macs: int
    """Multiply-accumulates an image."""
    val_images: int
    """Images kept for validation."""
    val_right: int | None
    """Of them, those that the weights kept got right; None without validation images."""

    @property
    def val_accuracy(self) -> float | None:
        """Share of right validation images; None without them."""
        return None if self.val_right is None else self.val_right / self.val_images


def write_report(
    training: Training, candidate: Candidate, folder: Path, run: dict[str, Any], test: ImageSet, *, tta: bool
) -> Outcome:
    """Saves the model, evaluates it on the test images and writes every file of the report.

    Args:
        training: at its end; or anew, if `run` says that its model lies in the folder already.
        candidate: what was trained.
        folder: of the run.
        run: the content of run.json; takes in what came out.
        test: images that nothing else reads.
        tta: whether to evaluate with test-time augmentation too, apart.
    """
    model = _saved_model(training, candidate, folder, run)
    probabilities = _predicted(model, training.device, test, folder, tta=tta)
    evaluations = {name: evaluate(p, test.labels, model.class_names) for name, p in probabilities.items()}
    with atomic_write(folder / "history.csv") as file:
        pd.DataFrame(run["history"]).to_csv(file, index=False)
    layers = _layers(candidate)
    write_layers(folder / "layers.csv", layers)
    seconds = math.fsum(epoch["seconds"] for epoch in run["history"])
    plain, augmentation = probabilities[PLAIN], candidate.recipe.augmentation
    shown = ImageSet(training.images, training.labels)
    page = RunPage(
        run["title"],
        _facts(candidate, run, training.seed, seconds),
        run["history"],
        evaluations,
        candidate.to_dict(),
        curves=roc_curves(plain, test.labels, model.class_names),
        errors=gallery.errors(test, plain, model.class_names),
        successes=gallery.successes(test, plain, model.class_names),
        strips=gallery.strips(shown, model.class_names, augmentation, fill=training.fill, seed=training.seed),
        layers=layers,
    )
    write_run_page(folder / "report.html", page)
    run |= {"parameters": candidate.cost.parameters, "macs": candidate.cost.macs, "seconds": seconds}
    write_json(folder / RUN, run)
    return Outcome(
        folder,
        run["title"],
        evaluations,
        candidate.cost.parameters,
        run["epochs"],
        seconds,
        candidate.cost.macs,
        run["val_images"],
        _val_right(run, candidate.recipe),
    )


def _val_right(run: dict[str, Any], recipe: Recipe) -> int | None:
    """Validation images that the weights kept got right, from the history: the last epoch's or the best's."""
    if not run["val_images"]:
        return None
    kept: dict[str, float] = run["history"][-1]
    if recipe.keep == "best":
        sign = 1 if recipe.monitor == "val_accuracy" else -1
        kept = max(
            run["history"], key=lambda epoch: sign * epoch[recipe.monitor]
        )  # the first of equals, as in training
    return round(kept["val_accuracy"] * int(run["val_images"]))


def _saved_model(
    training: Training, candidate: Candidate, folder: Path, run: dict[str, Any]
) -> checkpoint.TrainedModel:
    if run.get("finished"):
        return checkpoint.load_model(folder)
    network = training.final_network()
    model = checkpoint.TrainedModel(network, candidate, training.normalization, training.class_names)
    checkpoint.save_model(folder, model)
    run["finished"] = True
    return model


def _predicted(
    model: checkpoint.TrainedModel, device: Device, test: ImageSet, folder: Path, *, tta: bool
) -> dict[str, Tensor]:
    """Probabilities (N, C) by name of the evaluation, each written to its files too."""
    network = model.network.to(device.torch_device)
    found: dict[str, Tensor] = {}
    for name, stem in ((PLAIN, "test"), (AUGMENTED, "test_tta"))[: 2 if tta else 1]:
        found[name] = predict_probabilities(
            network,
            test.images,
            model.normalization,
            device=device.torch_device,
            autocast=device.autocast,
            tta=name == AUGMENTED,
        )
        evaluation = evaluate(found[name], test.labels, model.class_names)
        write_evaluation(folder, evaluation, found[name], test.labels, stem=stem)
    return found


def _layers(candidate: Candidate) -> list[LayerRow]:
    """The network's table; empty for an own network that does not describe its layers."""
    layers = getattr(candidate.network, "layers", None)
    return layer_rows(layers(), candidate.network.image_size) if layers else []


def _facts(candidate: Candidate, run: dict[str, Any], seed: int, seconds: float) -> dict[str, str]:
    recipe = candidate.recipe
    thop = thop_parameters(candidate.network.build(), candidate.network.image_size)
    weights = "moving average (EMA)" if recipe.ema_decay else "network's own"
    return {
        "parameters": f"{candidate.cost.parameters:,}",
        "parameters counted by thop": f"{thop:,}",
        "multiply-accumulates an image": f"{candidate.cost.macs:,}",
        "epochs": f"{len(run['history'])} ({run['epochs']:g} passes planned)",
        "training time": format_duration(seconds),
        "peak learning rate": f"{recipe.optimizer.peak_lr:.3g}",
        "training images": f"{run['train_images']:,}",
        "validation images": f"{run['val_images']:,}",
        "weights": f"{weights}, {'best by ' + recipe.monitor if recipe.keep == 'best' else 'last epoch'}",
        "data": run["source"],
        "hardware": run["device"],
        "seed": str(seed),
    }
