"""Recipes by command: the list, pretrained weights, parts to unfreeze, a learning rate by range test."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18

from cifar.checkpoint import load_model
from cifar.recipe import recipe_names
from search.cli import run_command
from search.retrain import main

PLAIN = """
[recipe]
epochs = 2
batch_size = 50
val_size = 100
statistics = "half"
[recipe.augmentation]
crop_padding = 2
"""
TRANSFER = (
    """
[network]
kind = "imagenet_resnet"
resize = 32
"""
    + PLAIN
    + """
[recipe.optimizer]
name = "adam"
lr = 1e-3
backbone_lr_factor = 0.1
"""
)
BY_RANGE_TEST = (
    """
[network]
kind = "cnn"
stages = [[8], [16]]
hidden = []
"""
    + PLAIN
    + """
[recipe.optimizer]
lr = "range_test"
weight_decay = 1e-4
"""
)


def test_the_list_shows_every_recipe_with_its_costs(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--list-recipes"])
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert set(recipe_names()) <= set(rows)
    assert re.search(r"4,916,284 +769M +within +95\.56 %", rows["resnet24_budget5m"])
    assert re.search(r"11,181,642 +1,814M +reference only +91\.95 %", rows["resnet18_transfer"])
    assert re.search(r"224,522 +27M +within$", rows["depthwise_dilated"].rstrip())


def test_pretrained_weights_and_unfrozen_parts(toy: Path, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imagenet = resnet18().state_dict()
    torch.save(imagenet, workplace / "resnet18.pth")
    (workplace / "transfer.toml").write_text(TRANSFER)
    options = ["--recipe", "transfer.toml", "--data", str(toy), "--device", "cpu", "--out", "run", "--epochs", "1"]
    main([*options, "--weights", "resnet18.pth", "--unfreeze", "layer3,layer4"])
    assert re.search(r"^test: \d+\.\d\d %", capsys.readouterr().out, re.MULTILINE)
    (workplace / "resnet18.pth").unlink()  # neither the trained model nor its run need it any more
    main([*options, "--weights", "resnet18.pth", "--unfreeze", "layer3,layer4"])
    assert "epoch" not in capsys.readouterr().out
    model = load_model(Path("run"))
    for key, value in model.network.state_dict().items():
        if not key.startswith(("layer3", "layer4", "fc")):
            assert torch.equal(value, imagenet[key]), key
    assert not torch.equal(model.network.state_dict()["layer3.0.conv1.weight"], imagenet["layer3.0.conv1.weight"])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--weights none.pth", "--weights must be a file that exists; got"),
        ("--weights text", "text must be an undamaged weights file"),
        ("--unfreeze layer9", "trainable must name parts"),
        ("--recipe resnet_fast --weights text", "for networks that start from ImageNet weights"),
        ("--recipe resnet_fast --unfreeze layer4", "got a network of kind 'resnet'"),
        ("--weights text --keep first", "argument --keep: invalid choice: 'first'"),
        ("--list-recipes", "not allowed with argument"),
    ],
)
def test_wrong_options_are_one_line(
    line: str, words: str, toy: Path, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "transfer.toml").write_text(TRANSFER)
    (workplace / "text").write_text("no weights")
    options = ["--data", str(toy), "--device", "cpu", "--out", "run", *line.split()]
    if "--recipe" not in options:
        options = ["--recipe", "transfer.toml", *options]
    try:
        status = run_command(main, options)
    except SystemExit as stop:
        status = int(stop.code or 0)
    errors = capsys.readouterr().err
    assert status == 2
    assert words in errors
    assert errors.count("\n") == 1
    assert not Path("run").exists()  # nothing that keeps the mended command from running


def test_a_range_test_finds_the_rate_once(toy: Path, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "found.toml").write_text(BY_RANGE_TEST)
    options = ["--recipe", "found.toml", "--data", str(toy), "--device", "cpu", "--out", "run"]
    main(options)
    printed = re.search(r"range test: peak learning rate (\S+)$", capsys.readouterr().out, re.MULTILINE)
    assert printed
    run = json.loads(Path("run/run.json").read_text())
    assert run["lr"] == pytest.approx(float(printed[1]), rel=0.01)
    assert load_model(Path("run")).candidate.recipe.optimizer.lr == run["lr"]
    assert max(epoch["lr"] for epoch in run["history"]) <= run["lr"]
    main(options)  # the same run again: reported, not searched for again
    assert "range test" not in capsys.readouterr().out
