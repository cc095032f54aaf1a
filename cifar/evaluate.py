"""What predictions say: accuracy with its interval, figures of each class, confusion matrix.

Intervals are Wilson's (`cifar.stats.intervals`). They cover the draw of *these images*, not the draw of the training
seed. Where a ratio is undefined (precision of a class never predicted, recall of a class without images) it is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from cifar.files import write_json, write_text
from cifar.stats.intervals import wilson_interval
from cifar.stats.roc import roc_curves


@dataclass(frozen=True)
class ClassRow:
    """What the predictions say about one class."""

    name: str
    """Name of the class."""
    support: int
    """Images of this class."""
    correct: int
    """Images of this class that are predicted as this class."""
    accuracy: float
    """correct / support; equals recall."""
    low: float
    """Lower end of the 95 % Wilson interval of the accuracy."""
    high: float
    """Upper end of it."""
    precision: float
    """correct / images predicted as this class; 0 if there are none."""
    recall: float
    """correct / support; 0 if the class has no images."""
    f1: float
    """Harmonic mean of precision and recall; 0 if both are 0."""


@dataclass(frozen=True)
class Evaluation:
    """What the predictions on a set of images say."""

    classes: tuple[ClassRow, ...]
    """One row a class, in the order of the labels."""
    accuracy: float
    """Share of images whose most probable class is theirs."""
    low: float
    """Lower end of the 95 % Wilson interval of the accuracy."""
    high: float
    """Upper end of it."""
    count: int
    """Images."""
    loss: float
    """Mean cross entropy in nats; a probability of 0 counts as 1.2e-38, the least normal float32."""
    macro_precision: float
    """Mean precision over all classes, those without images too."""
    macro_recall: float
    """Mean recall over all classes."""
    macro_f1: float
    """Mean F1 over all classes."""
    confusion: tuple[tuple[int, ...], ...]
    """Counts; rows are true classes, columns predicted ones."""


def evaluate(probabilities: Tensor, labels: Tensor, class_names: Sequence[str]) -> Evaluation:
    """Accuracy, per-class figures and confusion matrix of predictions.

    Args:
        probabilities: float (N, C), rows summing to 1; N >= 1. The first of equal maxima is the prediction.
        labels: integers (N,) in 0..C-1.
        class_names: C names.
    """
    _check(probabilities, labels, len(class_names))
    probabilities, labels = probabilities.cpu(), labels.cpu().long()
    confusion = _confusion(probabilities.argmax(dim=1), labels, len(class_names))
    rows = tuple(_class_row(name, index, confusion) for index, name in enumerate(class_names))
    correct, count = sum(row.correct for row in rows), len(labels)
    low, high = wilson_interval(correct, count)
    return Evaluation(
        classes=rows,
        accuracy=correct / count,
        low=low,
        high=high,
        count=count,
        loss=_cross_entropy(probabilities, labels),
        macro_precision=sum(row.precision for row in rows) / len(rows),
        macro_recall=sum(row.recall for row in rows) / len(rows),
        macro_f1=sum(row.f1 for row in rows) / len(rows),
        confusion=confusion,
    )


def _check(probabilities: Tensor, labels: Tensor, classes: int) -> None:
    shapes = f"{tuple(probabilities.shape)} and {tuple(labels.shape)}"
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or probabilities.shape[1] != classes:
        raise ValueError(f"probabilities (N, {classes}) and labels (N,) must fit; got shapes {shapes}")
    if len(labels) == 0:
        raise ValueError("an evaluation needs at least one image; got 0")
    least, greatest = labels.min().item(), labels.max().item()
    if labels.is_floating_point() or least < 0 or greatest >= classes:
        got = f"{labels.dtype} from {least} to {greatest}"
        raise ValueError(f"labels must be integers in 0..{classes - 1}; got {got}")
    off = (probabilities.double().sum(dim=1) - 1).abs().max().item()
    if not (off < 1e-2 and probabilities.min() >= 0):  # NaN fails too
        raise ValueError(f"rows must be probabilities summing to 1, not logits or NaN; got a sum off by {off:.3g}")


def _confusion(predicted: Tensor, labels: Tensor, classes: int) -> tuple[tuple[int, ...], ...]:
    counts = torch.bincount(labels * classes + predicted, minlength=classes * classes)
    return tuple(tuple(row) for row in counts.view(classes, classes).tolist())


def _class_row(name: str, index: int, confusion: Sequence[Sequence[int]]) -> ClassRow:
    correct, support = confusion[index][index], sum(confusion[index])
    predicted = sum(row[index] for row in confusion)
    recall = correct / support if support else 0.0
    low, high = wilson_interval(correct, support)
    return ClassRow(
        name=name,
        support=support,
        correct=correct,
        accuracy=recall,
        low=low,
        high=high,
        precision=correct / predicted if predicted else 0.0,
        recall=recall,
        f1=2 * correct / (support + predicted) if support + predicted else 0.0,
    )


def _cross_entropy(probabilities: Tensor, labels: Tensor) -> float:
    of_truth = probabilities.double().gather(1, labels[:, None])  # (N, 1)
    return float(-of_truth.clamp_min(torch.finfo(torch.float32).tiny).log().mean().item())


def write_evaluation(folder: Path, evaluation: Evaluation, probabilities: Tensor, labels: Tensor, *, stem: str) -> None:
    """Writes an evaluation and its predictions as five files, each whole or not at all.

    `{stem}_metrics.json` (every field of the evaluation), `{stem}_per_class.csv`, `{stem}_confusion.csv`
    (a row a true class, a column a predicted class), `{stem}_roc_auc.csv` (a row a class against the rest; an
    area that is undefined is empty), and `{stem}_predictions.csv`: index, true, predicted (class names),
    confidence (the greatest probability), then a column `p_<class>` for each class.

    Args:
        folder: created if missing.
        evaluation: what `evaluate` gave for these probabilities and labels.
        probabilities: float (N, C), as given to `evaluate`.
        labels: integers (N,).
        stem: start of the file names, such as `test` or `test_tta`.
    """
    import pandas as pd

    names = [row.name for row in evaluation.classes]
    _check(probabilities, labels, len(names))
    per_class = pd.DataFrame([asdict(row) for row in evaluation.classes])
    confusion = pd.DataFrame(evaluation.confusion, index=pd.Index(names, name="true"), columns=names)
    confidence, predicted = probabilities.cpu().max(dim=1)
    predictions = pd.DataFrame(
        {
            "true": [names[label] for label in labels.tolist()],
            "predicted": [names[label] for label in predicted.tolist()],
            "confidence": confidence.numpy(),
        }
    ).join(pd.DataFrame(probabilities.cpu().numpy(), columns=[f"p_{name}" for name in names]))
    areas = pd.DataFrame(
        [
            (curve.name, curve.positives, curve.negatives, curve.auc)
            for curve in roc_curves(probabilities, labels, names)
        ],
        columns=["name", "positives", "negatives", "auc"],
    )
    write_json(folder / f"{stem}_metrics.json", asdict(evaluation))
    write_text(folder / f"{stem}_per_class.csv", per_class.to_csv(index=False, lineterminator="\n"))
    write_text(folder / f"{stem}_confusion.csv", confusion.to_csv(lineterminator="\n"))
    write_text(folder / f"{stem}_roc_auc.csv", areas.to_csv(index=False, lineterminator="\n"))
    write_text(folder / f"{stem}_predictions.csv", predictions.to_csv(index_label="index", lineterminator="\n"))
