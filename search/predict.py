"""`python -m search.predict`: what a retrained model sees in pictures of any size and mode."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from search.cli import Parser, natural, run_command

if TYPE_CHECKING:
    from torch import Tensor

    from cifar.checkpoint import TrainedModel

PIPE_WIDTH = 10_000
"""Columns of a table that no terminal shows: nothing is wrapped, so that grep finds whole names."""


def parser() -> Parser:
    """The command's options."""
    p = Parser(
        "predict",
        "Predict the classes of pictures. A picture is turned as its EXIF data says, cropped to its middle square, "
        "laid on white where it is transparent, and resized to the network's input.",
    )
    p.add_argument("--model", type=Path, required=True, help="folder of a retrained run")
    p.add_argument("pictures", type=Path, nargs="+", metavar="PICTURE", help="a picture, or a folder of pictures")
    p.add_argument("--top", type=natural, default=3, help="classes shown for each picture, the most probable first")
    p.add_argument("--json", action="store_true", help="print a JSON array with the probabilities of all classes")
    p.add_argument("--tta", action="store_true", help="average over mirrored and shifted views")
    p.add_argument(
        "--normalization",
        default="training",
        choices=("training", "own"),
        help="normalise by the training images' statistics or by those of the pictures given, if they are many",
    )
    p.add_argument("--space", help="space that defines the model's own network class (a Python file or module)")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:<index> or mps")
    return p


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, reads every picture, predicts, and only then prints."""
    args = parser().parse_args(argv)
    from cifar.data.images import channel_statistics
    from cifar.normalization import Normalization
    from cifar.prediction import predict_probabilities
    from cifar.runtime.device import choose_device
    from search.retraining.models import open_model

    device = choose_device(args.device)
    model = open_model(args.model, args.space)
    files, images = read_pictures(args.pictures, model.candidate.network.image_size)
    own = args.normalization == "own"
    probabilities = predict_probabilities(
        model.network.to(device.torch_device),
        images,
        Normalization(*channel_statistics(images)) if own else model.normalization,
        device=device.torch_device,
        autocast=device.autocast,
        tta=args.tta,
    )  # (N, C)
    predictions = rank(files, probabilities, model)
    if args.json:
        print(json.dumps([prediction.to_dict() for prediction in predictions], indent=2))
    else:
        print_table(predictions, args.top)


def read_pictures(paths: Sequence[Path], size: int) -> tuple[list[Path], Tensor]:
    """The files and their images, uint8 (N, 3, size, size).

    Files in a folder that are no pictures, or damaged ones, are skipped with a note on stderr.

    Raises:
        DataError: a file that was named itself is no sound picture, or there is none at all.
    """
    import torch

    from cifar.data.pictures import find_pictures, read_picture
    from cifar.errors import DataError
    from cifar.text import printable as shown

    files, images = [], []
    for path, named in find_pictures(paths):
        try:
            image = read_picture(path, size)
        except DataError as error:
            if named:
                raise
            print(f"skipped: {error}", file=sys.stderr)
            continue
        files.append(path)
        images.append(image)
    if not files:
        given = ", ".join(shown(path) for path in paths)
        raise DataError("there must be a picture to predict", got=f"none in {given}", remedy="Name picture files")
    return files, torch.stack(images)


@dataclass(frozen=True)
class Prediction:
    """What the model sees in one picture."""

    file: Path
    """As it was given, or found in a folder."""
    ranked: tuple[tuple[str, float], ...]
    """Every class with its probability, the most probable first."""
    probabilities: dict[str, float]
    """The same in the order of the labels."""

    def to_dict(self) -> dict[str, object]:
        """The JSON form."""
        predicted, confidence = self.ranked[0]
        return {
            "file": str(self.file),
            "predicted": predicted,
            "confidence": confidence,
            "probabilities": self.probabilities,
        }


def rank(files: Sequence[Path], probabilities: Tensor, model: TrainedModel) -> list[Prediction]:
    """One prediction a row of `probabilities`, float (N, C); of equal classes the first label comes first."""
    predictions = []
    for file, row in zip(files, probabilities.tolist(), strict=True):
        by_class = dict(zip(model.class_names, row, strict=True))
        ranked = sorted(by_class.items(), key=lambda pair: -pair[1])
        predictions.append(Prediction(file, tuple(ranked), by_class))
    return predictions


def print_table(predictions: Sequence[Prediction], top: int) -> None:
    """Prints a row a picture: file, class, confidence, and the next classes down to the `top`-th."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cifar.text import printable as shown

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("picture", overflow="fold")
    table.add_column("predicted", overflow="fold")
    table.add_column("confidence", justify="right", no_wrap=True)
    if top > 1:
        table.add_column("then", overflow="fold")
    for prediction in predictions:
        (name, confidence), *others = prediction.ranked[:top]
        then = ", ".join(f"{shown(other)} {_percent(share)}" for other, share in others)
        cells = [shown(prediction.file), shown(name), _percent(confidence), then]
        table.add_row(*(Text(cell) for cell in (cells if top > 1 else cells[:3])))  # Text: names are no markup
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    console.print(table)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"  # rich would wrap before the sign, at a space of any kind


if __name__ == "__main__":
    raise SystemExit(run_command(main))
