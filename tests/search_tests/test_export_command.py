"""`python -m search.export` on a real run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cifar.checkpoint import save_model
from search.cli import run_command
from search.export import main
from tests.cifar_tests.test_export import trained


def test_a_model_is_exported(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = trained()
    save_model(workplace / "model", model)
    main(["--model", "model", "--format", "torchscript"])
    cost = model.candidate.cost
    assert re.fullmatch(
        rf"wrote model\.pt: {cost.parameters:,} parameters, {cost.macs:,} multiply-accumulates an image\n"
        r"input       uint8 \(B, 3, 12, 12\), not normalised; output: logits of 3 classes\n"
        r"checked     probabilities of 1,001 images are within \d\.\de-\d+ of the model's\n",
        capsys.readouterr().out,
    )
    assert Path("model.pt").stat().st_size > 4 * cost.parameters


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--model none", "a run is the folder of a finished run, with run.json in it, or its name; got 'none'"),
        ("--model . --out x.onnx", "a trained model is a folder with weights.pt"),
    ],
)
def test_a_missing_model_is_told(line: str, words: str, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(main, line.split()) == 2
    assert words in capsys.readouterr().err
    assert not Path("x.onnx").exists()
