"""TensorBoard event files of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cifar.train import EpochResult
from search.cli import run_command
from search.retrain import main
from search.retraining.tensorboard_events import EventFile

EPOCH = EpochResult(1, 0.5, 0.75, None, None, 0.125, 100, 2.0)
"""An epoch without validation images."""


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values by tag, as TensorBoard itself reads them."""
    accumulator: Any = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs the package tensorboard"
    )
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_the_event_file_holds_the_history(options: list[str]) -> None:
    main([*options, "--tensorboard"])
    read, history = scalars(Path("run/tensorboard")), pd.read_csv("run/history.csv")
    for tag, column in (
        ("loss/train", "train_loss"),
        ("loss/validation", "val_loss"),
        ("accuracy/train", "train_accuracy"),
        ("accuracy/validation", "val_accuracy"),
        ("learning_rate", "lr"),
        ("seconds_an_epoch", "seconds"),
    ):
        steps, values = zip(*read[tag], strict=True)
        assert list(steps) == [1, 2, 3]
        assert list(values) == pytest.approx(history[column].tolist(), rel=1e-6)
    predictions = pd.read_csv("run/test_predictions.csv")
    accuracy = (predictions["true"] == predictions["predicted"]).mean()
    ((step, tested),) = read["accuracy/test"]
    assert step == 3
    assert tested == pytest.approx(accuracy)


def test_a_finished_run_gets_one_afterwards_and_never_two(options: list[str]) -> None:
    main(options)
    assert not Path("run/tensorboard").exists()
    for _ in range(2):
        main([*options, "--tensorboard"])
        assert len(list(Path("run/tensorboard").iterdir())) == 1
    assert [step for step, _ in scalars(Path("run/tensorboard"))["loss/train"]] == [1, 2, 3]


def test_without_a_folder_nothing_is_written(workplace: Path) -> None:
    with EventFile(None) as events:
        events.add_epoch(EPOCH)
        events.add_test({"test": 0.5}, 1)
    assert not list(workplace.iterdir())


def test_what_an_epoch_lacks_is_left_out(workplace: Path) -> None:
    with EventFile(workplace / "events") as events:
        events.add_history([EPOCH])
    expected = {"loss/train": 0.5, "accuracy/train": 0.75, "learning_rate": 0.125, "seconds_an_epoch": 2.0}
    assert scalars(workplace / "events") == {tag: [(1, value)] for tag, value in expected.items()}


def test_a_missing_package_is_told_before_the_training(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)  # what importing then meets
    assert run_command(main, [*options, "--tensorboard"]) == 2
    error = capsys.readouterr().err
    assert "pip install tensorboard" in error
    assert error.count("\n") == 1
    assert not Path("run").exists()
