"""A trained model on the test images: its predictions, and what a finished run gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from cifar.checkpoint import TrainedModel
from cifar.data.images import ImageSet
from cifar.evaluate import Evaluation, evaluate, write_evaluation
from cifar.networks.complexity import Cost
from cifar.prediction import predict_probabilities
from cifar.runtime.device import Device
from search.retraining.run_record import RunRecord

PLAIN = "test"
"""Name of the main evaluation."""
AUGMENTED = "test, with test-time augmentation"
STEMS = {PLAIN: "test", AUGMENTED: "test_tta"}
"""Beginning of the names of an evaluation's files."""


@dataclass(frozen=True)
class Outcome:
    """What a finished run gave, in figures."""

    folder: Path
    """Folder of the run."""
    record: RunRecord
    """What was run, and its history."""
    cost: Cost
    """Parameters and multiply-accumulates of the network."""
    evaluations: Mapping[str, Evaluation]
    """Evaluations by name; the first is of the plain test images."""
    val_accuracy: float | None
    """Accuracy of the weights kept on the validation images; None without them."""

    @property
    def test(self) -> Evaluation:
        """Evaluation on the plain test images."""
        return self.evaluations[PLAIN]


@dataclass(frozen=True)
class RetrainResult:
    """A finished run with its model and images; a page shows them."""

    outcome: Outcome
    """The run in figures."""
    model: TrainedModel
    """The trained model."""
    train: ImageSet
    """Training images; uint8 (N, 3, H, W), on the training device."""
    fill: tuple[int, int, int]
    """Colour of cutout's square, uint8."""
    test: ImageSet
    """Test images."""
    probabilities: Mapping[str, Tensor]
    """Predictions on the test images, float (N, C) on the CPU, by name of the evaluation."""


def predict_test(model: TrainedModel, device: Device, test: ImageSet, *, tta: bool) -> dict[str, Tensor]:
    """Probabilities of the test images, float (N, C), by name of the evaluation.

    Args:
        model: its network is moved to the device.
        device: where to predict.
        test: images that nothing else reads.
        tta: whether to predict with test-time augmentation too, separately.
    """
    network = model.network.to(device.torch_device)
    return {
        name: predict_probabilities(
            network,
            test.images,
            model.normalization,
            device=device.torch_device,
            autocast=device.autocast,
            tta=name == AUGMENTED,
        )
        for name in ((PLAIN, AUGMENTED) if tta else (PLAIN,))
    }


def write_evaluations(
    folder: Path, probabilities: Mapping[str, Tensor], test: ImageSet, class_names: tuple[str, ...]
) -> dict[str, Evaluation]:
    """Evaluates predictions, writes the files of each evaluation and returns the evaluations by name."""
    evaluations = {}
    for name, predicted in probabilities.items():
        evaluations[name] = evaluate(predicted, test.labels, class_names)
        write_evaluation(folder, evaluations[name], predicted, test.labels, stem=STEMS[name])
    return evaluations
