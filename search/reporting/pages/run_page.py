"""The page of a finished training run: how it trained, what it gets right and wrong, what the network is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from cifar.evaluate import Evaluation
from cifar.files import write_text
from cifar.networks.receptive_field import LayerRow
from cifar.stats.roc import RocCurve
from search.format import format_lr, format_percent
from search.reporting.candidate_words import mixing_words, parts
from search.reporting.pages import html
from search.reporting.pages import run_predictions as predictions
from search.reporting.pages.gallery import Picture, Strip, strips_html
from search.reporting.pages.html import interval, percent
from search.reporting.pages.run_figures import Epoch, epoch_numbers, figures

CELLS: dict[str, Callable[[float], str]] = {
    "train_loss": "{:.4f}".format,
    "train_accuracy": format_percent,
    "val_loss": "{:.4f}".format,
    "val_accuracy": format_percent,
    "lr": format_lr,
    "seconds": "{:.1f}".format,
}
"""Columns of the table of epochs, by key of the history, and how their numbers are written."""


@dataclass(frozen=True)
class RunPage:
    """What the page of one run shows; what is empty is left out."""

    title: str
    """Names the run, such as "trial 12 of study resnet_budget5m"."""
    facts: Mapping[str, str]
    """What describes the run, by name; "parameters" is repeated in the headline."""
    history: Sequence[Epoch]
    """Results of the epochs: epoch, train_loss, train_accuracy, val_loss, val_accuracy, lr, seconds.

    Accuracies are in [0, 1]. A key may be absent; NaN and infinity leave a gap."""
    evaluations: Mapping[str, Evaluation]
    """Evaluations by name, such as "test"; the first is shown in the headline, class by class and as a matrix."""
    candidate: Mapping[str, object]
    """Network and recipe in JSON form."""
    curves: Sequence[RocCurve] = ()
    """ROC curves of the main evaluation, one a class."""
    errors: Sequence[Picture] = ()
    """Misclassified images of the main evaluation."""
    successes: Sequence[Picture] = ()
    """Correctly classified images of the main evaluation."""
    strips: Sequence[Strip] = ()
    """Training images with augmented versions of them."""
    layers: Sequence[LayerRow] = ()
    """The network, layer by layer."""
    limit: int | None = None
    """Most parameters that were allowed; None where nothing limited them."""

    def __post_init__(self) -> None:
        if not self.evaluations:
            raise ValueError("a run page needs at least one evaluation; got none")


def write_run_page(path: Path, page: RunPage) -> None:
    """Writes the page as one HTML file of 5 to 6 MB, whole or not at all."""
    main = next(iter(page.evaluations.values()))
    write_text(path, html.document(page.title, _body(page), figures(page.history, main, page.curves)))


def _body(page: RunPage) -> str:
    name, main = next(iter(page.evaluations.items()))
    sections = (
        html.section("Results", _results(page.evaluations)),
        html.section("Training", _training(page.history, page.candidate)),
        html.section("What the network sees", _augmented(page.strips, page.candidate)),
        html.section("Classes", predictions.classes(name, main, page.curves)),
        html.section("Confusion", predictions.confusion(name, main)),
        html.section("Images", predictions.images(page.errors, page.successes)),
        html.section("ROC curves", predictions.roc(name, page.curves)),
        html.section("Network", _network(page.layers)),
        html.section("Run", _run(page)),
    )
    return html.main_part(page.title, _headline(page), sections)


def _headline(page: RunPage) -> str:
    tiles = [
        (name, percent(result.accuracy), f"95\u00a0% interval {interval(result.low, result.high)}")
        for name, result in list(page.evaluations.items())[:2]
    ]
    tiles[0] = (f"{tiles[0][0]} accuracy", *tiles[0][1:])
    limit = "" if page.limit is None else f"of at most {page.limit:,}"
    tiles += [(key, value, limit) for key, value in page.facts.items() if key.lower() == "parameters"]
    return html.tiles(tiles)


def _results(evaluations: Mapping[str, Evaluation]) -> str:
    rows = [
        (
            name,
            f"{result.count:,}",
            percent(result.accuracy),
            interval(result.low, result.high),
            f"{result.loss:.4f}",
            percent(result.macro_precision),
            percent(result.macro_recall),
            percent(result.macro_f1),
        )
        for name, result in evaluations.items()
    ]
    columns = ("", "images", "accuracy", "95 % interval", "loss", "precision", "recall", "F1")
    note = (
        "Loss is the mean cross entropy in nats; precision, recall and F1 are means over classes. Intervals "
        "(Wilson's score interval) cover the draw of the images, not the spread between training seeds."
    )
    return html.table("Accuracy on the test images, which no choice was made by.", columns, rows) + html.note(note)


def _training(history: Sequence[Epoch], candidate: Mapping[str, object]) -> str:
    if not history:
        return ""
    curves = [
        html.figure("loss", _ends(history, "loss", "{:.3f}".format), _loss_caption(candidate)),
        html.figure("accuracy", _ends(history, "accuracy", format_percent), _accuracy_caption(candidate)),
    ]
    if any("lr" in epoch for epoch in history):
        peak = max(epoch["lr"] for epoch in history if "lr" in epoch)
        caption = "The rate of the last step of each epoch."
        title = f"The learning rate peaks at {format_lr(peak)}"
        curves.append(html.figure("lr", title, caption, kind="wide", height=220))
    return f"<div class=grid>{''.join(curves)}</div>\n{_epoch_table(history)}"


def _ends(history: Sequence[Epoch], quantity: str, written: Callable[[float], str]) -> str:
    """Where the curves of a quantity end, as a title."""
    names = {"train": "training", "val": "validation"}
    last = [
        f"{written(value)} in {name}"
        for split, name in names.items()
        if (value := history[-1].get(f"{split}_{quantity}")) is not None
    ]
    return f"{quantity.capitalize()} ends at {' and '.join(last)}" if last else quantity.capitalize()


def _loss_caption(candidate: Mapping[str, object]) -> str:
    mixed, smoothed = bool(_mixing(candidate)), bool(parts(candidate)[1].get("label_smoothing"))
    harder = ["are augmented", *["mixed"] * mixed, *["have smoothed labels"] * smoothed]
    words = " and ".join(filter(None, (", ".join(harder[:-1]), harder[-1])))
    return f"Mean cross entropy of each epoch, in nats. Training images {words}; validation images are plain."


def _accuracy_caption(candidate: Mapping[str, object]) -> str:
    words = (
        "Share of images classified correctly in each epoch. Training images count as they were trained on, augmented "
        "and before their step; validation images are plain."
    )
    mixing = _mixing(candidate)
    if not mixing:
        return words
    return (
        f"{words} Images were mixed by {mixing}: only the class of the image itself counts, so this training accuracy "
        "stays far below that on plain images and does not compare with the validation's."
    )


def _mixing(candidate: Mapping[str, object]) -> str:
    """The ways of mixing images in words; empty for none."""
    return mixing_words(parts(candidate)[1].get("augmentation", {}))


def _epoch_table(history: Sequence[Epoch]) -> str:
    known = [key for key in CELLS if any(epoch.get(key) is not None for epoch in history)]
    rows = [
        (f"{x:g}", *(_cell(epoch.get(key), CELLS[key]) for key in known))
        for x, epoch in zip(epoch_numbers(history), history, strict=True)
    ]
    columns = ("epoch", *(key.replace("_", " ").replace("lr", "learning rate") for key in known))
    return html.details("Epoch by epoch", html.table("The numbers behind the curves.", columns, rows))


def _cell(value: float | None, written: Callable[[float], str]) -> str:
    return "\u2013" if value is None else written(value)


def _augmented(strips: Sequence[Strip], candidate: Mapping[str, object]) -> str:
    if not strips:
        return ""
    caption = (
        "A training image of each class (framed), and versions of it as the recipe's augmentation draws them anew "
        "in every epoch; the seed of these draws is fixed."
    )
    if mixing := _mixing(candidate):
        caption += (
            f" Images are also mixed, by {mixing}: below a mixed version stand the classes that it is made of, which "
            "are its target."
        )
    return strips_html("Training images after augmentation", caption, strips)


def _network(layers: Sequence[LayerRow]) -> str:
    if not layers:
        return ""
    rows = [
        (
            layer.name,
            layer.kind.replace("x", "\u00d7"),
            layer.output_shape.replace("x", "\u00d7"),
            f"{layer.parameters:,}" if layer.parameters else "\u2013",
            f"{layer.macs:,}" if layer.macs else "\u2013",
            "\u2013" if layer.receptive_field is None else str(layer.receptive_field),
        )
        for layer in layers
    ]
    parameters, macs = sum(layer.parameters for layer in layers), sum(layer.macs for layer in layers)
    caption = f"{len(layers)} layers, {parameters:,} parameters, {macs:,} multiply-accumulates an image."
    columns = ("layer", "kind", "output", "parameters", "MACs", "receptive field")
    note = (
        "Output: channels, height, width. The receptive field is the side, in pixels of the input, of the square "
        "that one output pixel depends on; one that is wider than the image sees all of it. Layers without one lie "
        "beside the main path. MACs are multiply-accumulates; normalisation and pooling have none by convention."
    )
    return html.table(caption, columns, rows, kind="tall") + html.note(note)


def _run(page: RunPage) -> str:
    caption = "How the network was trained, and on what."
    rows = [(key, value if key != "parameters" else _limited(value, page.limit)) for key, value in page.facts.items()]
    facts = html.table(caption, ("", ""), rows, kind="facts") if rows else ""
    settings = escape(json.dumps(page.candidate, indent=2, default=str, ensure_ascii=False))
    return facts + html.details("Network and recipe (JSON)", f"<pre tabindex=0>{settings}</pre>")


def _limited(count: str, limit: int | None) -> str:
    return count if limit is None else f"{count} of at most {limit:,}"
