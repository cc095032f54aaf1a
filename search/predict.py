"""`python -m search.predict`: what a retrained model sees in pictures of any size and mode."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from search.cli import Parser, natural, run_command
from search.format import format_percent

if TYPE_CHECKING:
    from cifar.errors import DataError
    from search.retraining.predictions import Prediction

PIPE_WIDTH = 10_000
"""Columns of a table that no terminal shows: nothing is wrapped, so that grep finds whole names."""


def parser() -> Parser:
    """The command's options."""
    p = Parser(
        "predict",
        "Predict the classes of pictures. A picture is turned as its EXIF data says, cropped to its middle square, "
        "laid on white where it is transparent, and resized to the network's input.",
        ("--model final picture.png", "--model studies/resnet_budget5m/runs/final my_pictures --json"),
    )
    p.add_argument("--model", type=Path, required=True, help="a run's folder or name, or the folder of a kept model")
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
    p.add_space_option("the model's own network class")
    p.add_device_option()
    return p


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, reads every picture, predicts, and only then prints."""
    args = parser().parse_args(argv)
    from cifar.data.images import channel_statistics
    from cifar.normalization import Normalization
    from cifar.prediction import predict_probabilities
    from cifar.runtime.device import choose_device
    from search.retraining.models import open_model
    from search.retraining.predictions import rank, read_pictures

    device = choose_device(args.device)
    model = open_model(args.model, args.space)
    files, images = read_pictures(args.pictures, model.candidate.network.image_size, _tell_skipped)
    own = args.normalization == "own"
    probabilities = predict_probabilities(
        model.network.to(device.torch_device),
        images,
        Normalization(*channel_statistics(images)) if own else model.normalization,
        device=device.torch_device,
        autocast=device.autocast,
        tta=args.tta,
    )  # (N, C)
    predictions = rank(files, probabilities, model.class_names)
    if args.json:
        print(json.dumps([prediction.to_dict() for prediction in predictions], indent=2))
    else:
        print_table(predictions, args.top)


def _tell_skipped(error: DataError) -> None:
    print(f"skipped: {error}", file=sys.stderr)


def print_table(predictions: Sequence[Prediction], top: int) -> None:
    """Prints a row a picture: file, class, confidence, and the next classes down to the `top`-th."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cifar.text import printable

    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("picture", overflow="fold")
    table.add_column("predicted", overflow="fold")
    table.add_column("confidence", justify="right", no_wrap=True)
    if top > 1:
        table.add_column("then", overflow="fold")
    for prediction in predictions:
        (name, confidence), *others = prediction.ranked[:top]
        then = ", ".join(f"{printable(other)} {format_percent(share, 1)}" for other, share in others)
        cells = [printable(prediction.file), printable(name), format_percent(confidence, 1), then]
        table.add_row(*(Text(cell) for cell in (cells if top > 1 else cells[:3])))  # Text: names are no markup
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    console.print(table)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
