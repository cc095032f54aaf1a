"""`python -m search.submit`: predicts a Kaggle test pickle with a retrained model and writes the CSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from search.cli import Parser, run_command

if TYPE_CHECKING:
    from cifar.checkpoint import TrainedModel
    from cifar.kaggle.test_pickle import KagglePickle


def parser() -> Parser:
    """The command's options."""
    p = Parser(
        "submit",
        "Predict the images of a Kaggle test pickle and write a checked submission CSV.",
        (
            "--model final --pkl test.pkl --out submission.csv",
            "--model final --pkl test.pkl --sample sample_submission.csv --tta",
        ),
    )
    p.add_argument("--model", type=Path, required=True, help="a run's folder or name, or the folder of a kept model")
    p.add_argument("--pkl", type=Path, required=True, help="test pickle, read without executing anything in it")
    p.add_argument("--out", type=Path, default=Path("submission.csv"), help="CSV to write")
    p.add_argument("--header", help="the CSV's two column names, comma-separated (default: ID,Labels)")
    p.add_argument("--sample", type=Path, help="sample submission whose header, ids and row order are followed")
    p.add_argument(
        "--layout",
        default="auto",
        choices=("auto", "hwc", "chw", "flat_chw", "flat_hwc"),
        help="layout of the pickled images; auto detects and prints it",
    )
    p.add_argument(
        "--normalization",
        default="training",
        choices=("training", "own"),
        help="normalise by the training images' statistics or by the pickle's own",
    )
    p.add_argument("--tta", action="store_true", help="average over mirrored and shifted views")
    p.add_space_option("the model's own network class")
    p.add_device_option()
    return p


def main(argv: Sequence[str] | None = None) -> None:
    """Parses, reads the pickle, predicts, writes the CSV."""
    args = parser().parse_args(argv)
    from cifar.kaggle.shift import normalisation_shift
    from cifar.kaggle.submission import sample_ids, write_submission
    from cifar.kaggle.test_pickle import read_pickle
    from cifar.normalization import Normalization
    from cifar.prediction import predict_probabilities
    from cifar.runtime.device import choose_device
    from search.retraining.models import open_model

    device = choose_device(args.device)
    header = _header(args.header, args.sample)
    model = open_model(args.model, args.space)
    pickled = read_pickle(args.pkl, args.layout)
    _check_size(model, pickled)
    print(f"{len(pickled.ids):,} images: {pickled.layout}")
    shift = normalisation_shift(pickled.images, model.normalization.mean, model.normalization.std)
    print("\n".join(shift.lines()))
    normalization = model.normalization
    if args.normalization == "own":
        normalization = Normalization(_three(shift.mean), _three(shift.std))
    labels = predict_probabilities(
        model.network.to(device.torch_device),
        pickled.images,
        normalization,
        device=device.torch_device,
        autocast=device.autocast,
        tta=args.tta,
    ).argmax(1)  # (N,)
    expected = sample_ids(args.sample) if args.sample else None
    write_submission(args.out, pickled.ids, labels, header, expected, num_classes=len(model.class_names))
    counts = Counter(labels.tolist())
    named = ", ".join(f"{name} {counts[i]:,}" for i, name in enumerate(model.class_names))
    print(f"predicted with the {args.normalization} statistics: {named}")
    print(f"wrote {args.out}: {len(pickled.ids):,} rows, header {','.join(header)}; read back and checked")


def _header(given: str | None, sample: Path | None) -> tuple[str, str]:
    from cifar.kaggle.submission import DEFAULT_HEADER, header_from_sample, parse_header

    if given:
        return parse_header(given)
    return header_from_sample(sample) if sample else DEFAULT_HEADER


def _check_size(model: TrainedModel, pickled: KagglePickle) -> None:
    from cifar.errors import SubmissionError

    size = model.candidate.network.image_size
    if pickled.images.shape[2:] != (size, size):
        raise SubmissionError(
            f"the model takes images of {size}x{size} pixels",
            got="x".join(map(str, pickled.images.shape[2:])),
            remedy="Use a model that was trained on such images",
        )


def _three(values: tuple[float, ...]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue


if __name__ == "__main__":
    raise SystemExit(run_command(main))
