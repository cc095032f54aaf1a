"""A finished run in the terminal, and as history.csv, layers.csv and report.html in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from cifar.candidate import Candidate
from cifar.evaluate import Evaluation
from cifar.networks.complexity import thop_parameters
from cifar.networks.receptive_field import LayerRow, layer_rows, write_layers
from cifar.stats.roc import roc_curves
from search.format import format_duration, format_epochs, format_percent, format_range
from search.reporting.candidate_words import in_words
from search.reporting.pages import gallery
from search.reporting.pages.run_page import RunPage, write_run_page
from search.reporting.tables import write_csv
from search.retraining.candidates import Origin
from search.retraining.final_evaluation import PLAIN, Outcome, RetrainResult
from search.retraining.run_record import RunRecord

PAGE = "report.html"


def write_run_report(result: RetrainResult, origin: Origin | None = None) -> None:
    """Writes the tables and the page of a finished run into its folder.

    Args:
        result: the run.
        origin: the trial that was trained; None for a recipe.
    """
    folder, history = result.outcome.folder, [asdict(epoch) for epoch in result.outcome.record.history]
    layers = _layers(result.model.candidate)
    write_csv(folder / "history.csv", history)
    write_layers(folder / "layers.csv", layers)
    write_run_page(folder / PAGE, _page(result, origin, history, layers))


def _page(
    result: RetrainResult, origin: Origin | None, history: Sequence[dict[str, float]], layers: Sequence[LayerRow]
) -> RunPage:
    outcome, candidate, names = result.outcome, result.model.candidate, result.model.class_names
    test, plain = result.test, result.probabilities[PLAIN]
    return RunPage(
        outcome.record.title,
        _facts(candidate, outcome.record) | _searched(origin),
        history,
        outcome.evaluations,
        candidate.to_dict(),
        limit=origin.param_budget if origin else None,
        curves=roc_curves(plain, test.labels, names),
        errors=gallery.errors(test, plain, names),
        successes=gallery.successes(test, plain, names),
        strips=gallery.strips(
            result.train,
            names,
            candidate.recipe.augmentation,
            fill=result.fill,
            seed=outcome.record.identity.settings.seed,
        ),
        layers=layers,
    )


def _layers(candidate: Candidate) -> list[LayerRow]:
    """The network's table; empty for an own network that does not describe its layers."""
    layers = getattr(candidate.network, "layers", None)
    return layer_rows(layers(), candidate.network.image_size) if layers else []


def _facts(candidate: Candidate, record: RunRecord) -> dict[str, str]:
    recipe, cost = candidate.recipe, candidate.cost
    thop = thop_parameters(candidate.network.build(), candidate.network.image_size)
    weights = "moving average (EMA)" if recipe.ema_decay else "network's own"
    return {
        "parameters": f"{cost.parameters:,}",
        "parameters counted by thop": f"{thop:,}",
        "multiply-accumulates an image": f"{cost.macs:,}",
        "epochs": f"{len(record.history)} ({record.epochs:g} passes)",
        "training time": format_duration(record.seconds),
        **in_words(candidate.to_dict()),
        "training images": f"{record.train_images:,}",
        "validation images": f"{record.val_images:,}",
        "weights": f"{weights}, {'best by ' + recipe.monitor if recipe.keep == 'best' else 'last epoch'}",
        "data": record.source,
        "hardware": record.device,
        "seed": str(record.identity.settings.seed),
        "trained until": record.ended or "not recorded",
    }


def _searched(origin: Origin | None) -> dict[str, str]:
    """What the search had found of the trial; nothing of a recipe."""
    if origin is None or origin.value is None:
        return {}
    after = f"after {origin.epochs} of {format_epochs(origin.full_epochs)}"
    return {"value in the search": f"{format_percent(origin.value)} of its validation images, {after}"}


# ---- terminal


def print_briefly(outcome: Outcome) -> None:
    """Prints the validation accuracy and where the report is."""
    if outcome.val_accuracy is not None:
        print(f"validation {format_percent(outcome.val_accuracy)}")
    print(f"report      {outcome.folder / PAGE}", flush=True)


def print_outcome(outcome: Outcome) -> None:
    """Prints the per-class table, the accuracies and where the files are."""
    console = Console(highlight=False)
    console.print(_class_table(outcome.test))
    for name, evaluation in outcome.evaluations.items():
        console.print(
            f"{name}: {format_percent(evaluation.accuracy)} "
            f"(95 % interval {format_range(evaluation.low, evaluation.high)}) of {evaluation.count:,} images",
            soft_wrap=True,
        )
    console.print(f"report      {outcome.folder / PAGE}", soft_wrap=True)
    console.print(
        f"submit      python -m search.submit --model {outcome.folder} --pkl FILE.pkl --out submission.csv",
        soft_wrap=True,
    )


def _class_table(evaluation: Evaluation) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("class", no_wrap=True)
    for name in ("images", "accuracy", "95 % interval", "precision", "recall", "F1"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in evaluation.classes:
        table.add_row(
            row.name,
            f"{row.support:,}",
            format_percent(row.accuracy, 1),
            format_range(row.low, row.high, 1, between="\u2013"),
            *(format_percent(share, 1) for share in (row.precision, row.recall, row.f1)),
        )
    return table
