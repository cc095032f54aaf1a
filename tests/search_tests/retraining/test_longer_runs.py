"""A recipe becomes what suits the time: by its variants, once, and for good."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cifar.candidate import RecipeFile
from cifar.checkpoint import load_model
from cifar.networks.resnet import ResNetConfig
from cifar.recipe import recipe_names
from search.retrain import main
from search.retraining.run_record import RunRecord

LONGER = """
[[longer]]
passes = {wide}
why = "a wider network pays"
network = {{ channels = [16, 16, 16], stem = 16 }}
[[longer]]
passes = 1e9
why = "nobody has so much time"
network = {{ channels = [32, 32, 32], stem = 32 }}
"""
WIDE = (16, 16, 16)


def with_variants(wide: float) -> None:
    """Gives the recipe a wider variant from so many passes on, and one that needs more than anyone has."""
    path = Path("tiny.toml")
    path.write_text(path.read_text() + LONGER.format(wide=wide))


def trained_channels() -> tuple[int, ...]:
    network = load_model(Path("run")).candidate.network
    assert isinstance(network, ResNetConfig)
    return network.channels


@pytest.fixture(autouse=True)
def known_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch takes a hundredth of a second, whatever else the machine does."""
    monkeypatch.setattr("search.retraining.longer_runs.epoch_seconds", lambda *_: 0.01)


@pytest.mark.parametrize(
    ("limit", "wide", "channels", "words"),
    [
        (["--time-budget", "60s"], 1e-3, WIDE, "so that a wider network pays"),
        (["--time-budget", "60s"], 1e8, (8, 8, 8), "best spent on the network as it is"),
        (["--epochs", "1"], 1e-3, (8, 8, 8), "epoch   1/1"),
    ],
)
def test_the_time_chooses_among_the_variants(
    options: list[str],
    limit: list[str],
    wide: float,
    channels: tuple[int, ...],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with_variants(wide)
    main([*options, *limit])
    assert trained_channels() == channels
    assert words in capsys.readouterr().out


def test_a_continued_run_keeps_its_variant(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with_variants(1e-3)
    with monkeypatch.context() as patch:
        patch.setattr("search.retraining.retrainer.train", lambda *_: 1 / 0)  # the process dies as training begins
        with pytest.raises(ZeroDivisionError):
            main([*options, "--time-budget", "60s"])
    assert RunRecord.read(Path("run")).longer == 1e-3
    monkeypatch.setattr("search.retraining.longer_runs.epoch_seconds", lambda *_: 1 / 0)  # nothing is timed again
    main([*options, "--time-budget", "60s"])
    assert trained_channels() == WIDE
    assert json.loads(Path("run/run.json").read_text())["longer"] == 1e-3


def test_every_seed_trains_the_variant_of_the_first(options: list[str]) -> None:
    with_variants(1e-3)
    main([*options, "--time-budget", "60s", "--seeds", "2"])
    runs = [RunRecord.read(Path("run") / f"recipe-tiny-seed{seed}") for seed in (0, 1)]
    assert [run.longer for run in runs] == [1e-3, 1e-3]
    assert runs[0].epochs == runs[1].epochs
    networks = [load_model(Path("run") / f"recipe-tiny-seed{seed}").candidate.network for seed in (0, 1)]
    assert networks[0] == networks[1] != RecipeFile.read(Path("tiny.toml")).candidate.network


@pytest.mark.parametrize("name", recipe_names())
def test_variants_of_built_in_recipes_are_in_order_and_within_the_limit(name: str) -> None:
    file = RecipeFile.named(name)
    costs = [variant.candidate.cost for variant in file.longer]
    assert [cost.macs for cost in costs] == sorted(cost.macs for cost in costs)
    assert all(cost.parameters <= 5_000_000 for cost in costs)
    assert all(variant.candidate.recipe.val_size == file.candidate.recipe.val_size for variant in file.longer)
