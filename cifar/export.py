"""Trained networks as one file for other programs: ONNX, TorchScript, or an exported program of `torch.export`.

The file takes images as they are, uint8 (B, 3, H, W) with any B, and gives logits, float32 (B, C): the normalisation is
inside. It names its classes, parameters and multiply-accumulates. Before it is written it is read back, and must
predict as the network does.
"""

from __future__ import annotations

import importlib
import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cifar.checkpoint import TrainedModel
from cifar.errors import ConfigError
from cifar.files import atomic_write
from cifar.normalization import scale_and_shift
from cifar.prediction import predict_probabilities

METADATA = "metadata.json"
"""Name of the metadata in files of torch, which are archives; ONNX has a table of its own."""
IMAGES, LOGITS = "images", "logits"
"""Names of input and output, where the format has names."""
BATCH = 125
"""Images at once in the check."""
CHECKED = 8 * BATCH + 1
"""Images of the check; the last one alone, since a batch of one is what exporters get wrong most easily."""
TOLERANCE = 1e-4
"""Most by which a class probability may differ from the network's own; float32 sums in another order differ by less."""

Predict = Callable[[Tensor], Tensor]
"""Logits, float (B, C), of images, uint8 (B, 3, H, W)."""


class Classifier(nn.Module):
    """A trained network with its normalisation inside.

    Args:
        model: the network, which is shared, and the statistics of its input.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: TrainedModel) -> None:
        super().__init__()
        self.network = model.network.cpu().eval()
        scale, shift = scale_and_shift(model.normalization, torch.device("cpu"))
        self.register_buffer("scale", scale.clone())
        self.register_buffer("shift", shift.clone())

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float32 (B, C), of uint8 (B, 3, H, W)."""
        logits: Tensor = self.network(torch.addcmul(self.shift, images.float(), self.scale))
        return logits


def export_model(model: TrainedModel, path: Path, form: str) -> float:
    """Writes the file, whole or not at all; returns the most by which a class probability differs from the network's.

    Args:
        model: the trained model.
        path: the file.
        form: one of `FORMS`.

    Raises:
        ConfigError: a package is missing, the network cannot be exported in this form, or the file predicts otherwise.
    """
    write, read = FORMS[form]
    classifier = Classifier(model).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # exporters warn of their own deprecations
        try:
            written = write(classifier, _example(model), _metadata(model))
            difference = _difference(model, read(written))
        except ConfigError:
            raise
        except Exception as error:  # what an exporter raises depends on the operation that it does not know
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ConfigError(f"the network must be one that {form} can hold", got=reason, remedy=OTHER) from None
    if not difference <= TOLERANCE:
        rule = f"the file must predict as the network does, within {TOLERANCE:g} of each probability"
        raise ConfigError(rule, got=f"{difference:.2g}", remedy=OTHER)
    with atomic_write(path) as file:
        file.write(written)
    return difference


OTHER = "Try another --format"


def _example(model: TrainedModel, count: int = 2) -> Tensor:
    """Images to trace and check with: random colours in patches of 4 x 4 pixels, uint8 (N, 3, H, W)."""
    size = model.candidate.network.image_size
    patches = torch.randint(256, (count, 3, -(-size // 4), -(-size // 4)), generator=torch.Generator().manual_seed(0))
    whole = patches.repeat_interleave(4, 2).repeat_interleave(4, 3)
    return whole[..., :size, :size].to(torch.uint8).contiguous()


def _metadata(model: TrainedModel) -> dict[str, str]:
    cost, size = model.candidate.cost, model.candidate.network.image_size
    return {
        "classes": json.dumps(model.class_names),
        "parameters": str(cost.parameters),
        "macs": str(cost.macs),
        "candidate": json.dumps(model.candidate.to_dict()),
        "input": f"{IMAGES}: uint8 (B, 3, {size}, {size}), red, green, blue",
        "output": f"{LOGITS}: float32 (B, {len(model.class_names)})",
    }


def _difference(model: TrainedModel, predict: Predict) -> float:
    """The most by which a class probability of the file differs from the network's."""
    images = _example(model, CHECKED)
    own = predict_probabilities(model.network, images, model.normalization, device=torch.device("cpu"))
    logits = torch.cat([predict(batch) for batch in torch.split(images, BATCH)])  # (N, C)
    return float((logits.softmax(dim=1) - own).abs().max())


# ---- forms


def _to_torchscript(classifier: Classifier, example: Tensor, metadata: dict[str, str]) -> bytes:
    file = io.BytesIO()
    traced = torch.jit.trace(classifier, (example,), check_trace=False)  # type: ignore[no-untyped-call]
    torch.jit.save(traced, file, _extra_files={METADATA: json.dumps(metadata)})
    return file.getvalue()


def _from_torchscript(written: bytes) -> Predict:
    predict: Predict = torch.jit.load(io.BytesIO(written))  # type: ignore[no-untyped-call]
    return predict


def _program(classifier: Classifier, example: Tensor) -> torch.export.ExportedProgram:
    shapes = {IMAGES: {0: torch.export.Dim("batch")}}
    return torch.export.export(classifier, (example,), dynamic_shapes=shapes)


def _to_exported_program(classifier: Classifier, example: Tensor, metadata: dict[str, str]) -> bytes:
    file = io.BytesIO()
    torch.export.save(_program(classifier, example), file, extra_files={METADATA: json.dumps(metadata)})
    return file.getvalue()


def _from_exported_program(written: bytes) -> Predict:
    predict: Predict = torch.export.load(io.BytesIO(written)).module()
    return predict


def _to_onnx(classifier: Classifier, example: Tensor, metadata: dict[str, str]) -> bytes:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        _import(package)
    made: Any = torch.onnx.export(
        _program(classifier, example), dynamo=True, input_names=[IMAGES], output_names=[LOGITS], verbose=False
    )
    made.model.metadata_props.update(metadata)
    written: bytes = made.model_proto.SerializeToString()
    return written


def _from_onnx(written: bytes) -> Predict:
    session = _import("onnxruntime").InferenceSession(written, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run([LOGITS], {IMAGES: images.numpy()})[0])


def _import(package: str) -> Any:
    """An optional package.

    Raises:
        ConfigError: it is missing.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ConfigError(
            "--format onnx needs onnx, onnxscript and onnxruntime", got=error, remedy=f"Run pip install {package}"
        ) from None


FORMS: dict[str, tuple[Callable[[Classifier, Tensor, dict[str, str]], bytes], Callable[[bytes], Predict]]] = {
    "onnx": (_to_onnx, _from_onnx),
    "torchscript": (_to_torchscript, _from_torchscript),
    "torch_export": (_to_exported_program, _from_exported_program),
}
"""What writes each form, and what reads it back."""
