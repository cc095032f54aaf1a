"""The throughput benchmark's arithmetic and, on toy images, its parts."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import (
    ablation,
    earns_its_keep,
    jpeg,
    minutes,
    naive,
    resumable,
    speed,
    step_profile,
    step_time,
    throughput,
)
from cifar.candidate import Candidate
from cifar.compilation import Compilation
from cifar.data.prepare import PreparedData, prepare
from cifar.data.splits import load_training_split
from cifar.data.toy import toy_npz
from cifar.errors import ConfigError
from cifar.networks.resnet import ResNetConfig
from cifar.recipe import Augmentation, Recipe
from cifar.runtime.device import choose_device
from cifar.train import Training

CPU = choose_device("cpu")
TOY = Candidate(
    ResNetConfig(blocks=(1, 1, 1), channels=(8, 8, 8), stem=8, num_classes=4, image_size=16),
    Recipe(batch_size=32, augmentation=Augmentation(crop_padding=2)),
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    return prepare(toy_npz(tmp_path / "toy.npz", train=200, test=50, size=16), cache=tmp_path / "cache")


def test_sides_are_measured_in_turn_and_compared_pair_by_pair() -> None:
    order: list[str] = []

    def side(name: str, *speeds: float) -> object:
        given = iter(speeds)

        def measure() -> float:
            order.append(name)
            return next(given)

        return measure

    rows = throughput.in_turn(
        side("naive", 1.0, 2.0, 4.0),  # type: ignore[arg-type]
        side("trainer", 3.0, 8.0, 8.0),  # type: ignore[arg-type]
        side("compiled", 6.0, 12.0, 24.0),  # type: ignore[arg-type]
        repeats=3,
    )
    assert order == ["naive", "trainer", "compiled"] * 3
    assert rows == [
        {"naive": 2.0, "trainer": 8.0, "ratio": 3.0},  # of 3, 4 and 2
        {"naive": 2.0, "trainer": 12.0, "ratio": 6.0},
    ]


def test_nothing_asked_for_measures_nothing(data: PreparedData) -> None:
    result = throughput.measure((), {"toy": TOY}, data, CPU, 1)
    assert throughput.table(result) == result["machine"]
    assert {"training", "training_compiled", "training_recorded", "input_pipeline", "evaluation"} <= result.keys()


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # where there is one core
@pytest.mark.parametrize("works", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_quicker_passes_are_timed_where_they_can_be_made(
    works: bool, data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(training: Training, effort: str) -> Compilation:
        return Compilation(training.plain_pass if works else None, f"{effort}: {works}")

    monkeypatch.setattr(Training, "compile", made)
    monkeypatch.setattr(throughput, "SECONDS", 0.05)
    result = throughput.measure(("training",), {"toy": TOY}, data, CPU, 1)
    assert result["training"]["toy"]["trainer"] > 0
    assert list(result["training_compiled"]) == ["toy"] * works
    assert result["training_recorded"] == {}  # recording needs CUDA
    assert ("| training compiled: toy |" in throughput.table(result)) == works


def test_the_batch_size_is_that_of_both_sides() -> None:
    assert {c.recipe.batch_size for c in throughput.candidates(512).values()} == {512}
    assert list(throughput.candidates(recipes=["gpu_long", "gpu_fast"])) == ["gpu_long", "gpu_fast"]


@pytest.mark.slow
def test_trainings_side_by_side_are_timed_together(data: PreparedData, monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = speed.side_by_side(TOY, data, CPU, seconds=0.2, numbers=(2,))
    assert list(speeds) == [2]
    assert speeds[2] > 0
    monkeypatch.setattr(throughput, "side_by_side", lambda *_: {1: 1000.4, 8: 5000.0})
    lines = throughput.table(throughput.measure(("side_by_side",), {"toy": TOY}, data, CPU, 1)).splitlines()
    assert lines[2:] == ["| side by side: toy | 1 | 8 |", "|---|---|---|", "| images/s in all | 1,000 | 5,000 |"]


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # where there is one core
@pytest.mark.filterwarnings("ignore:Warning. Profiler clears events:UserWarning")  # torch 2.11, of any profile
@pytest.mark.slow
def test_the_shares_of_a_step_sum_to_one(data: PreparedData) -> None:
    found = step_profile.profiles({"toy": TOY}, data, CPU)
    with naive.apart() as apart:
        assert apart(naive.training_speed, TOY, data, CPU, 0.1) > 0
        assert apart(naive.input_speed, TOY, data, CPU, 0.1) > 0
        assert apart(naive.evaluation_speed, TOY, data, CPU) > 0
        assert apart(os.getpid) == apart(os.getpid) != os.getpid()
    for side in ("naive", "trainer"):
        row = found["steps"]["toy"][side]
        assert sum(row[kind] for kind in (*step_profile.KINDS, "other")) == pytest.approx(1, abs=0.01)
        assert row["convolution"] > 0
        assert row["batch norm"] > 0
        assert row["activation"] > 0 or side == "trainer"  # where batch norm may include it
        assert row["conv_gflops"] > 0
    assert "| toy, trainer |" in step_profile.table(found)


@pytest.mark.filterwarnings("ignore:Warning. Profiler clears events:UserWarning")  # torch 2.11, of any profile
def test_a_trace_holds_the_steps_and_the_input(data: PreparedData, tmp_path: Path) -> None:
    step_profile.write_trace(TOY, data, CPU, tmp_path / "trace.json.gz")
    with gzip.open(tmp_path / "trace.json.gz", "rt") as file:
        names = [event.get("name", "") for event in json.load(file)["traceEvents"]]
    assert sum("cross_entropy" in name and "backward" not in name for name in names) >= 50
    assert any("index_select" in name for name in names)  # of the augmentation


def test_matrix_products_have_a_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_profile, "SIDE", 64)
    assert step_profile.matmul_speed(torch.float32, CPU) > 0


def test_a_variant_changes_what_it_names() -> None:
    found = ablation.varied(TOY, "recipe.optimizer.lr = 0.2; network.block = 'preact'")
    assert (found.candidate.recipe.optimizer.lr, found.candidate.network) == (
        0.2,
        replace(TOY.network, block="preact"),  # type: ignore[type-var]
    )
    with pytest.raises(ConfigError, match="unknown"):
        ablation.varied(TOY, "recipe.no_such = 1")
    with pytest.raises(ConfigError, match="settings as in a recipe file"):
        ablation.varied(TOY, "recipe.batch_size")


def test_variants_are_compared_seed_by_seed() -> None:
    rows = [
        {"variant": name, "seed": seed, "accuracy": accuracy, "passes": 2.0}
        for name, accuracies in ((ablation.AS_IT_IS, (0.70, 0.72)), ("faster", (0.71, 0.74)))
        for seed, accuracy in enumerate(accuracies)
    ]
    lines = ablation.table(rows).splitlines()
    assert lines[2] == "| as it is | 71.00 % |  |  | 2.0 | 2 |"
    assert lines[3].startswith("| faster | 72.50 % | +1.50 | -4.85 to +7.85 | 2.0 | 2 |")
    assert resumable.is_done(rows, {"variant": "faster", "seed": 1})
    assert not resumable.is_done(rows, {"variant": "faster", "seed": 2})


def test_a_variant_is_trained_for_its_time(data: PreparedData) -> None:
    split = load_training_split(data, val_size=40)
    row = ablation.run(ablation.Variant("toy", TOY), split, CPU, seconds=0.5, seed=1)
    assert 0 <= row["accuracy"] <= 1
    assert row["passes"] > 0
    assert row["parameters"] == TOY.cost.parameters


def arm(name: str, seed: int, accuracy: float) -> dict[str, Any]:
    return {"arm": name, "minutes": 15, "seed": seed, "test_accuracy": accuracy, "test_images": 10_000}


def test_arms_are_compared_repeat_by_repeat() -> None:
    rows = [arm("default", 0, 0.90), arm("search", 0, 0.91), arm("usual", 0, 0.74)]
    assert "| 15 | default | 90.00 % |  |  | 1 |" in earns_its_keep.table(rows)
    assert "| 15 | search | 91.00 % | +1.00 | +0.19 to +1.81 | 1 |" in earns_its_keep.table(rows)
    rows += [arm("default", 1, 0.80), arm("search", 1, 0.83)]
    assert "| 15 | search | 87.00 % | +2.00 | -10.71 to +14.71 | 2 |" in earns_its_keep.table(rows)
    assert "| 15 | usual | 74.00 % | -16.00 |" in earns_its_keep.table(rows)  # of the one repeat that it has


def test_the_table_of_minutes_takes_the_default_arm_for_a_run_of_its_recipe() -> None:
    rows = [arm("search", 0, 0.91), arm("default", 0, 0.90) | {"recipe": "cpu_fast", "seconds": 890.0}]
    rows[1] |= {"passes": 14.6, "parameters": 1_969_816}
    assert minutes.table(rows).splitlines()[2:] == ["| cpu_fast | 15 | 90.00 % | 90.00 | 890 | 14.6 | 1,969,816 |"]


def test_jpeg_changes_pixels_by_as_much_as_its_quality_says() -> None:
    smooth = torch.linspace(0, 255, 32).to(torch.uint8).expand(2, 3, 32, 32)
    images = (smooth.float() + 20 * torch.randn(smooth.shape)).clamp(0, 255).to(torch.uint8)
    errors = []
    for quality in (30, 75, 95):
        read = jpeg.through_jpeg(images, quality)
        assert (read.shape, read.dtype) == (images.shape, torch.uint8)
        errors.append((read.float() - images.float()).square().mean().item())
    assert errors == sorted(errors, reverse=True)
    assert 0 < errors[-1] < errors[0]


@pytest.mark.slow
def test_both_kinds_of_images_are_trained_on_the_same_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, toy = tmp_path / "jpeg.jsonl", toy_npz(tmp_path / "toy.npz", train=400, test=100, size=16)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = ["--data", str(toy), "--passes", "1", "--seeds", "2", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["jpeg", *options])
    assert jpeg.main() == 0
    written = out.read_text()
    rows = [json.loads(line) for line in written.splitlines()]
    assert {(row["kind"], row["seed"]) for row in rows} == {("exact", 0), ("jpeg", 0), ("exact", 1), ("jpeg", 1)}
    shown = capsys.readouterr().out
    assert "| 320 | " in shown
    assert jpeg.main() == 0
    assert (out.read_text(), capsys.readouterr().out) == (written, shown)


@pytest.mark.slow
@pytest.mark.timeout(600)  # five arms of 30 seconds
def test_every_arm_runs_once_and_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, toy = tmp_path / "arms.jsonl", toy_npz(tmp_path / "toy.npz", train=6000, test=100, size=16)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    options = ["--data", str(toy), "--space", "resnet_budget30k", "--minutes", "0.5", "--out", str(out), "--arms"]
    monkeypatch.setattr("sys.argv", ["earns_its_keep", *options, *earns_its_keep.arms("")])
    assert earns_its_keep.main() == 0
    written = out.read_text()
    assert [json.loads(line)["arm"] for line in written.splitlines()] == list(earns_its_keep.arms(""))
    assert earns_its_keep.main() == 0
    assert out.read_text() == written
    assert "| 0.5 | hyperband |" in capsys.readouterr().out


@pytest.mark.slow
def test_minutes_are_those_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, toy = tmp_path / "minutes.jsonl", toy_npz(tmp_path / "toy.npz", train=400, test=100, size=16)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(
        "sys.argv", ["minutes", "--data", str(toy), "--minutes", "0.2", "--seeds", "2", "--out", str(out)]
    )
    assert minutes.main() == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["seed"] for row in rows] == [0, 1]
    assert all(row["passes"] > 0 and row["seconds"] > 0 for row in rows)
    mean = 50 * sum(row["test_accuracy"] for row in rows)
    assert f"| cpu_fast | 0.2 | {mean:.2f} % |" in capsys.readouterr().out


@pytest.mark.slow
def test_a_checkout_steps_as_fast_as_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "steps.jsonl"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = ["--recipes", "resnet_16_32_64", "--images", "256", "--epochs", "1", "--pairs", "1", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["step_time", "--against", str(step_time.HERE), *options])
    assert step_time.main() == 0
    [row] = [json.loads(line) for line in out.read_text().splitlines()]
    assert (
        f"| {row['there']:.4f} | {row['here']:.4f} | {row['here'] / row['there']:.3f}x | 1 |" in capsys.readouterr().out
    )
