"""Sections of a run's page: what the network predicts, class by class, as a confusion matrix, in images and curves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cifar.evaluate import Evaluation
from cifar.stats.roc import RocCurve, mean_auc
from search.reporting.pages import html
from search.reporting.pages.gallery import Picture, gallery_html
from search.reporting.pages.html import interval, percent
from search.reporting.pages.run_figures import corner, drawn_curves

CONFUSED_PAIRS = 8
"""Rows of the table of most frequent confusions."""


def classes(name: str, result: Evaluation, curves: Sequence[RocCurve]) -> str:
    """Accuracy of each class, as a figure and a table."""
    areas = [_area(curve) for curve in curves] or ["\u2013"] * len(result.classes)
    rows = [
        (
            row.name,
            f"{row.support:,}",
            percent(row.accuracy, 1),
            interval(row.low, row.high, 1),
            percent(row.precision, 1),
            percent(row.f1, 1),
            area,
        )
        for row, area in zip(result.classes, areas, strict=True)
    ]
    columns = ("class", "images", "accuracy", "95 % interval", "precision", "F1", "AUC")
    if not curves:
        rows, columns = [row[:-1] for row in rows], columns[:-1]  # type: ignore[misc, assignment]
    figure = html.figure(
        "classes",
        _hardest(result),
        "Whiskers are 95 % intervals; the dotted line is the accuracy over all classes.",
        height=80 + 34 * len(rows),
    )
    table = html.table(f"Each class of the {name} images.", columns, rows)
    note = html.note("The accuracy of a class is its recall. A class that is never predicted has precision 0.")
    return f'<div class="grid uneven">{figure}<div>{table}{note}</div></div>'


def _hardest(result: Evaluation) -> str:
    """The classes of the least and the greatest accuracy, as a title."""
    worst, best = (one(result.classes, key=lambda row: row.accuracy) for one in (min, max))
    return f"{worst.name} is hardest, {percent(worst.accuracy, 1)}; {best.name} easiest, {percent(best.accuracy, 1)}"


def _area(curve: RocCurve) -> str:
    return "\u2013" if curve.auc is None else f"{curve.auc:.4f}"


def confusion(name: str, result: Evaluation) -> str:
    """The confusion matrix, and the most frequent confusions."""
    figure = html.figure(
        "confusion",
        _most_confused(result),
        f"Counts of {name} images. Colour is the square root of the share of the true class, so that errors show.",
        height=140 + 40 * len(result.classes),
    )
    return f"<div class=grid>{figure}{_confused_pairs(result)}</div>"


def _pairs(result: Evaluation) -> list[tuple[int, int, int]]:
    """Number of images, true and predicted class of each confusion, the most frequent first."""
    pairs = [
        (int(count), true, predicted)
        for true, row in enumerate(result.confusion)
        for predicted, count in enumerate(row)
        if count and true != predicted
    ]
    return sorted(pairs, key=lambda pair: (-pair[0], *pair[1:]))


def _most_confused(result: Evaluation) -> str:
    """The most frequent confusion, as a title."""
    for count, true, predicted in _pairs(result)[:1]:
        row, other = result.classes[true], result.classes[predicted]
        return f"{row.name} is taken for {other.name} most often, {count:,} of {row.support:,} times"
    return "Every image is in its own class"


def _confused_pairs(result: Evaluation) -> str:
    names = [row.name for row in result.classes]
    rows = [
        (names[true], names[predicted], f"{count:,}", percent(count / result.classes[true].support, 1))
        for count, true, predicted in _pairs(result)[:CONFUSED_PAIRS]
    ]
    columns = ("true", "predicted as", "images", "share")
    return (
        html.table("Most frequent confusions; share of the true class.", columns, rows)
        if rows
        else "<p>No image was misclassified.</p>"
    )


def images(errors: Sequence[Picture], successes: Sequence[Picture]) -> str:
    """Galleries of misclassified and of correctly classified test images; those that are empty are left out."""
    return "\n".join(_galleries(errors, successes))


def _galleries(errors: Sequence[Picture], successes: Sequence[Picture]) -> Iterator[str]:
    if errors:
        caption = (
            "Test images that were classified wrongly with the highest probability, that one first. Below each: "
            "the prediction and its probability, then the true class and what it was given."
        )
        yield gallery_html("Misclassified: most confident errors first", caption, errors)
    if successes:
        caption = "Test images that were classified correctly: of each class in turn, the most confident first."
        yield gallery_html("Correctly classified", caption, successes)


def roc(name: str, curves: Sequence[RocCurve]) -> str:
    """ROC curves of the classes; empty where no area is defined."""
    drawn, known = drawn_curves(curves), sum(curve.auc is not None for curve in curves)
    if not drawn:
        return ""
    which = "one class against the rest" + ("" if len(drawn) == known else f"; the {len(drawn)} of least area")
    parts = [
        html.figure(
            "roc",
            f"The mean area under the curves is {mean_auc(curves):.4f}",
            f"Each curve is {which}, on the {name} images.",
            height=420,
        )
    ]
    side = corner(curves)
    if side:
        caption = f"The same curves where they part: the first {percent(side, 0)} of each axis."
        parts.append(html.figure("roc-corner", "Upper left corner", caption, height=420))
    note = html.note(
        "The area under a curve (AUC) is the probability that an image of the class "
        "is given a higher probability of it than another image; chance is 0.5. Each class's area stands in the "
        "table of classes."
    )
    return f'<div class=grid>{"".join(parts)}<div class="{"wide" if side else ""}">{note}</div></div>'
