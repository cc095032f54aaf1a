"""`python -m search.export`: a trained model as one file for programs without this tool."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from search.cli import Parser, run_command

FORMATS = {"onnx": ".onnx", "torchscript": ".pt", "torch_export": ".pt2"}
"""Endings of the files, by format."""


def parser() -> Parser:
    """The command's options."""
    p = Parser(
        "export",
        "Write a trained model as one file that takes images as they are, uint8 (B, 3, H, W), and gives logits. The "
        "file is checked against the model before it is written.",
        (
            "--model final --format onnx",
            "--model studies/resnet_budget5m/runs/final --format torch_export --out model.pt2",
        ),
    )
    p.add_argument("--model", type=Path, required=True, help="a run's folder or name, or the folder of a kept model")
    p.add_argument(
        "--format",
        choices=FORMATS,
        default="onnx",
        help="ONNX, TorchScript, or an exported program of torch.export; ONNX needs pip install onnx onnxscript "
        "onnxruntime",
    )
    p.add_argument("--out", type=Path, help="file to write (default: model.onnx, model.pt or model.pt2)")
    p.add_space_option("the model's own network class")
    return p


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, exports and checks."""
    args = parser().parse_args(argv)
    from cifar.export import CHECKED, export_model
    from search.retraining.models import open_model

    model = open_model(args.model, args.space)
    path = args.out or Path(f"model{FORMATS[args.format]}")
    difference = export_model(model, path, args.format)
    size, cost = model.candidate.network.image_size, model.candidate.cost
    print(f"wrote {path}: {cost.parameters:,} parameters, {cost.macs:,} multiply-accumulates an image")
    print(
        f"input       uint8 (B, 3, {size}, {size}), not normalised; output: logits of {len(model.class_names)} classes"
    )
    print(f"checked     probabilities of {CHECKED:,} images are within {difference:.1e} of the model's")


if __name__ == "__main__":
    raise SystemExit(run_command(main))
