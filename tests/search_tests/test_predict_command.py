"""`python -m search.predict`: probabilities of pictures, as a table and as JSON."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from cifar.candidate import Candidate
from cifar.checkpoint import TrainedModel, save_model
from cifar.data.images import ImageSet
from cifar.data.prepare import prepare
from cifar.data.splits import load_test, load_training_split
from cifar.networks.resnet import ResNetConfig
from cifar.prediction import predict_probabilities
from cifar.recipe import Augmentation, Optimizer, Recipe, Schedule
from cifar.runtime.device import Device
from cifar.runtime.threads import one_thread
from cifar.train import Training
from search import predict
from search.cli import run_command

CPU = Device(torch.device("cpu"), None)
NAMES = ("upright", "leaning", "[bold]low[/bold]", "flat with quite a long name")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainedModel, ImageSet]:
    """A small network that has learnt the toy images, and test images."""
    from cifar.data.toy import toy_npz

    folder = tmp_path_factory.mktemp("trained")
    data = prepare(toy_npz(folder / "toy.npz", train=600, test=40, size=16), cache=folder / "cache")
    recipe = Recipe(
        batch_size=25,
        optimizer=Optimizer("adamw", lr=0.03),
        schedule=Schedule("cosine"),
        augmentation=Augmentation(crop_padding=0),
    )
    candidate = Candidate(
        ResNetConfig(blocks=(1, 1, 1), channels=(8, 16, 16), stem=8, num_classes=4, image_size=16), recipe
    )
    training = Training(candidate, load_training_split(data, val_size=0), device=CPU, epochs=6, seed=0)
    with one_thread():
        for _ in training.run():
            pass
    return TrainedModel(training.final_network(), candidate, training.normalization, NAMES), load_test(data)


@pytest.fixture
def model(workplace: Path, trained: tuple[TrainedModel, ImageSet]) -> str:
    """The folder of the model; beside it pictures/, the test images as PNGs."""
    save_model(workplace / "model", trained[0])
    (workplace / "pictures").mkdir()
    for index, image in enumerate(trained[1].images):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(f"pictures/{index:02}.png")
    return "model"


def predicted(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    predict.main(["--device", "cpu", "--json", *arguments])
    result: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return result


def test_pictures_are_predicted_as_the_images_they_hold(
    model: str, trained: tuple[TrainedModel, ImageSet], capsys: pytest.CaptureFixture[str]
) -> None:
    network, test = trained
    for option in ([], ["--tta"]):
        rows = predicted(capsys, "--model", model, "pictures", *option)
        expected = predict_probabilities(
            network.network, test.images, network.normalization, device=torch.device("cpu"), tta=bool(option)
        )
        got = torch.tensor([list(row["probabilities"].values()) for row in rows])
        # the command may use the processor's bfloat16
        assert torch.allclose(got, expected, atol=0.05)
        assert [row["file"] for row in rows] == [f"pictures/{index:02}.png" for index in range(40)]
        right = sum(row["predicted"] == NAMES[label] for row, label in zip(rows, test.labels.tolist(), strict=True))
        assert right > 24
        for row in rows:
            assert list(row["probabilities"]) == list(NAMES)
            assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-5)
            assert row["confidence"] == max(row["probabilities"].values()) == row["probabilities"][row["predicted"]]


def test_own_statistics_are_those_of_the_pictures(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    for path in Path("pictures").glob("*.png"):
        Image.open(path).point(lambda value: value * 0.4 + 20).save(f"dark-{path.name}")
    dark = sorted(str(path) for path in Path().glob("dark-*"))
    usual = predicted(capsys, "--model", model, "pictures")
    own = predicted(capsys, "--model", model, *dark, "--normalization", "own")
    same = [a["predicted"] == b["predicted"] for a, b in zip(usual, own, strict=True)]
    assert sum(same) > 34


def test_the_table_shows_the_most_probable_classes_first(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    long = Path("pictures", "a_name_" + "x" * 150 + "_[red]of_some_length.png")
    Image.new("L", (300, 20), 90).save(long)
    predict.main(["--model", model, str(long), "pictures/01.png", "--device", "cpu"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["picture", "predicted", "confidence", "then"]
    assert len(lines) == 3
    assert lines[1].startswith(str(long))
    by_file = {row["file"]: row for row in predicted(capsys, "--model", model, str(long), "pictures/01.png")}
    for line, row in zip(lines[1:], by_file.values(), strict=True):
        ranked = sorted(row["probabilities"].items(), key=lambda pair: -pair[1])
        places = [line.index(name, len(row["file"])) for name, _ in ranked[:3]]
        assert places == sorted(places)
        assert f"{100 * row['confidence']:.1f} %" in line
        assert ranked[3][0] not in line[len(row["file"]) :]
    predict.main(["--model", model, "pictures/01.png", "--device", "cpu", "--top", "1"])
    assert capsys.readouterr().out.splitlines()[0].split() == ["picture", "predicted", "confidence"]
    predict.main(["--model", model, "pictures/01.png", "--device", "cpu", "--top", "99"])
    assert all(name in capsys.readouterr().out for name in NAMES[:1])


def test_what_is_no_picture_in_a_folder_is_skipped_and_told(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("pictures/notes.txt").write_text("seen in May")
    whole = Path("pictures/00.png").read_bytes()
    Path("pictures/00.png").write_bytes(whole[: len(whole) // 2])
    predict.main(["--model", model, "pictures", "--json", "--device", "cpu"])
    printed = capsys.readouterr()
    assert [row["file"] for row in json.loads(printed.out)] == [f"pictures/{index:02}.png" for index in range(1, 40)]
    skipped = printed.err.splitlines()
    assert len(skipped) == 2
    assert "pictures/00.png" in skipped[0]
    assert "pictures/notes.txt (no picture)" in skipped[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pictures/01.png", "notes.txt"], "must be an undamaged image file; got notes.txt (no picture)"),
        (["pictures/01.png", "gone.png"], "got gone.png (no such file)"),
        (["empty"], "there must be a picture to predict; got none in empty"),
        (["pictures/01.png", "--top", "0"], "a whole number of at least 1 is needed; got '0'"),
        (["pictures/01.png", "--device", "abacus"], "a device is auto, cpu"),
        (["pictures/01.png", "--space", "gone.py"], "a space's file must exist"),
        ([], "the following arguments are required: PICTURE"),
        (["pictures/01.png", "--model", "gone"], "a run is the folder of a finished run, with run.json in it, or its"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_half_printed(
    arguments: list[str], message: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("notes.txt").write_text("seen in May")
    Path("empty").mkdir()
    try:
        assert run_command(predict.main, ["--model", model, *arguments]) == 2
    except SystemExit as stopped:  # argparse
        assert stopped.code == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_the_command_itself(model: str, command: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = command("predict", "--model", model, "pictures/01.png", "--json", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert [row["file"] for row in json.loads(done.stdout)] == ["pictures/01.png"]


def test_another_image_size_is_that_of_the_network(
    workplace: Path, trained: tuple[TrainedModel, ImageSet], capsys: pytest.CaptureFixture[str]
) -> None:
    network = ResNetConfig(image_size=24, num_classes=4)
    save_model(
        workplace / "other",
        replace(trained[0], candidate=Candidate(network), network=network.build()),
    )
    Image.new("CMYK", (500, 700)).save("a.jpg")
    assert len(predicted(capsys, "--model", "other", "a.jpg")) == 1
