"""Predictions of a network and what they say: accuracy with its interval, per class, confusion matrix.

Intervals are Wilson's score interval (E. B. Wilson, "Probable inference, the law of succession, and
statistical inference", JASA 22, 1927). They cover the draw of *these images*, not that of the training seed.
Where a ratio is undefined (precision of a class never predicted, recall of a class without images) it is 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import NormalDist

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cifar.errors import ConfigError
from cifar.stats.roc import roc_curves

CONFIDENCE = 0.95
"""Confidence of every interval in an `Evaluation`."""
CPU_BATCH = 128
"""Images of a forward pass on a CPU: 500 overflow the caches, 6 to 12 % slower with 5 M parameters on one core."""
GPU_BATCH = 500
"""Images of a forward pass elsewhere."""


@dataclass(frozen=True)
class Normalization:
    """Per-channel mean and standard deviation of images in [0, 1]."""

    mean: tuple[float, float, float]
    """Subtracted from each channel."""
    std: tuple[float, float, float]
    """Divides each channel; positive."""

    def __post_init__(self) -> None:
        if not (all(map(math.isfinite, (*self.mean, *self.std))) and min(self.std) > 0):
            raise ConfigError(
                "normalisation needs finite means and positive standard deviations",
                got=f"mean {self.mean}, std {self.std}",
                remedy="Compute them from images that are not all alike",
            )


def normalize(images: Tensor, normalization: Normalization) -> Tensor:
    """Network input of raw images, in one multiply-add.

    Args:
        images: uint8 (B, 3, H, W); their memory format is kept.
        normalization: in units of [0, 1].

    Returns:
        float32 (B, 3, H, W), `(images / 255 - mean) / std`.
    """
    scale, shift = _scale_and_shift(normalization, images.device)
    return torch.addcmul(shift, images.float(), scale)


@cache  # a copy to the device would wait for it at every batch
@torch.inference_mode(False)  # usable in training too, whoever asks first
def _scale_and_shift(normalization: Normalization, device: torch.device) -> tuple[Tensor, Tensor]:
    mean = torch.tensor(normalization.mean, dtype=torch.float64)
    std = torch.tensor(normalization.std, dtype=torch.float64)
    both = torch.stack([1 / (255 * std), -mean / std]).to(device, torch.float32).view(2, 1, 3, 1, 1)
    return both[0], both[1]  # (1, 3, 1, 1) each


def predict_probabilities(
    network: nn.Module,
    images: Tensor,
    normalization: Normalization,
    *,
    device: torch.device,
    autocast: torch.dtype | None = None,
    batch_size: int | None = None,
    tta: bool = False,
) -> Tensor:
    """Class probabilities of images.

    The network is in eval mode inside, and every module gets its own mode back: frozen layers stay frozen.
    Nothing in the loop waits for the device; results stay there and move to the CPU once.

    Args:
        network: on `device`; maps normalised float (B, 3, H, W) to logits (B, C).
        images: uint8 (N, 3, H, W), on any device; N = 0 gives (0, C).
        normalization: that of the network's training.
        device: where the network is.
        autocast: lower precision for the network, such as `torch.bfloat16`; None keeps float32.
        batch_size: images a forward pass; None suits the device. The result does not depend on it, beyond rounding.
        tta: test-time augmentation by the six views of `_six_view_logits`; six times the work.

    Returns:
        float32 (N, C) on the CPU; rows sum to 1.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
        raise ValueError(f"images must be uint8 (N, 3, H, W); got {images.dtype} {tuple(images.shape)}")
    if batch_size is None:
        batch_size = CPU_BATCH if device.type == "cpu" else GPU_BATCH
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more; got {batch_size}")
    view_logits = _six_view_logits if tta else _plain_logits
    with (
        _eval_mode(network),
        torch.inference_mode(),
        torch.autocast(device.type, dtype=autocast, enabled=autocast is not None),
    ):
        images = images.to(device, memory_format=torch.channels_last)
        collected = []
        for start in range(0, max(len(images), 1), batch_size):
            inputs = normalize(images[start : start + batch_size], normalization)  # (B, 3, H, W)
            collected.append(view_logits(network, inputs).softmax(dim=1))  # (B, C)
        probabilities = torch.cat(collected)
    return probabilities.to("cpu", copy=True)  # outside inference mode: an ordinary tensor


@contextmanager
def _eval_mode(network: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _plain_logits(network: nn.Module, inputs: Tensor) -> Tensor:
    logits: Tensor = network(inputs)
    return logits.float()


def _mirror_logits(network: nn.Module, inputs: Tensor) -> Tensor:
    return (_plain_logits(network, inputs) + _plain_logits(network, inputs.flip(-1))) / 2


def _six_view_logits(network: nn.Module, inputs: Tensor) -> Tensor:
    """Mean logits of six views, weighted as by `tta_level=2` of KellerJordan/cifar10-airbench.

    The image and its mirror image count 1/4 each. Both, moved one pixel up-left and one pixel down-right
    with the edge filled by reflection, count 1/8 each. Logits are averaged, not probabilities, as there.
    """
    height, width = inputs.shape[-2:]
    padded = F.pad(inputs, (1, 1, 1, 1), mode="reflect")
    corners = (padded[..., :height, :width], padded[..., 2:, 2:])
    moved = [_mirror_logits(network, view.contiguous(memory_format=torch.channels_last)) for view in corners]
    return _mirror_logits(network, inputs) / 2 + (moved[0] + moved[1]) / 4


def wilson_interval(correct: int, total: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a proportion (JASA 22, 1927).

    Args:
        correct: successes, 0 to `total`.
        total: trials; 0 gives (0, 1): nothing is known.
        confidence: in (0, 1).

    Returns:
        Lower and upper end, in [0, 1]; correct / total lies between.
    """
    if not 0 <= correct <= total or not 0 < confidence < 1:
        raise ValueError(
            f"an interval needs 0 <= correct <= total and a confidence in (0, 1); got {correct}, {total}, {confidence}"
        )
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p, shrink = correct / total, 1 + z * z / total
    centre = (p + z * z / (2 * total)) / shrink
    half = z * math.sqrt(p * (1 - p) / total + (z / (2 * total)) ** 2) / shrink
    low = 0.0 if correct == 0 else max(0.0, min(p, centre - half))
    high = 1.0 if correct == total else min(1.0, max(p, centre + half))
    return low, high


@dataclass(frozen=True)
class ClassRow:
    """What the predictions say about one class."""

    name: str
    """Name of the class."""
    support: int
    """Images of this class."""
    correct: int
    """Of those, predicted as this class."""
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
        evaluation: of these probabilities and labels.
        probabilities: float (N, C), as given to `evaluate`.
        labels: integers (N,).
        stem: start of the file names, such as `test` or `test_tta`.
    """
    import pandas as pd

    from cifar.files import write_json, write_text

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
