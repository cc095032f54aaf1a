"""`run.json`: the record of a run, those of older versions too."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

import search.retrain
from cifar.errors import UserError
from cifar.networks.complexity import Cost
from cifar.recipe import Recipe
from cifar.train import EpochResult
from search.cli import run_command
from search.retrain import main
from search.retraining.run_record import Identity, RunRecord
from search.retraining.settings import RetrainSettings
from tests.search_tests.retraining.old_runs import BEGUN, FINISHED

RUN = Path("run/run.json")


@pytest.mark.parametrize("text", [BEGUN, FINISHED])
def test_an_old_record_is_read_and_written_letter_by_letter(text: str, workplace: Path) -> None:
    Path("run").mkdir()
    RUN.write_text(text)
    record = RunRecord.read(Path("run"))
    assert record.finished == ("finished" in text)
    record.write(Path("run"))
    assert RUN.read_text() == text


def test_a_finished_record_tells_what_came_out() -> None:
    record = RunRecord.from_dict(json.loads(FINISHED))
    assert record.identity.settings == RetrainSettings()
    assert record.cost == Cost(parameters=3980, macs=447520)
    assert record.history[1] == EpochResult(
        epoch=2,
        train_loss=1.3882911205291748,
        train_accuracy=0.26171875,
        val_loss=1.3835197687149048,
        val_accuracy=0.33000001311302185,
        lr=0.03705904774487396,
        images=256,
        seconds=0.03771723399995608,
    )
    assert record.seconds == 0.2173905439999544


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (Recipe(), 0.31),
        (Recipe(keep="best", monitor="val_accuracy"), 0.33),
        (Recipe(keep="best", monitor="val_loss"), 0.31),
    ],
)
def test_validation_accuracy_is_that_of_the_weights_kept(recipe: Recipe, expected: float) -> None:
    record = RunRecord.from_dict(json.loads(FINISHED))
    assert record.val_accuracy(recipe) == expected
    assert replace(record, val_images=0).val_accuracy(recipe) is None


def test_an_epoch_whose_loss_is_no_number_is_not_the_best() -> None:
    record = RunRecord.from_dict(json.loads(FINISHED))
    blind = replace(record.history[0], val_loss=math.nan, val_accuracy=0.25)
    record = replace(record, history=(blind, *record.history))
    assert record.val_accuracy(Recipe(keep="best", monitor="val_loss")) == 0.31


def test_test_time_augmentation_is_no_part_of_the_identity() -> None:
    asked = json.loads(FINISHED)["asked"]
    assert Identity.from_dict({**asked, "tta": True}) == Identity.from_dict(asked)
    assert Identity("c", "d", RetrainSettings(tta=True)).to_dict()["tta"] is False
    assert Identity.from_dict({**asked, "seed": 1}) != Identity.from_dict(asked)


def as_written_before(text: str, now: str) -> str:
    """An old record, with the fingerprints of a record of this version."""
    old, new = json.loads(text), json.loads(now)
    for key in ("candidate", "data"):
        text = text.replace(old["asked"][key], new["asked"][key])
    return text


def test_a_run_that_an_older_version_began_is_continued(
    options: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def interrupted(line: str) -> None:
        told.append(line)
        if len(told) == 2:  # before the second epoch is saved
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(search.retrain, "_say", interrupted)
        assert run_command(main, options) == 130
    RUN.write_text(as_written_before(BEGUN, RUN.read_text()))
    capsys.readouterr()
    main(options)
    printed = capsys.readouterr().out
    assert "continuing after epoch 1 of 3" in printed
    assert printed.count("epoch   ") == 2
    record = RunRecord.read(Path("run"))
    assert [epoch.epoch for epoch in record.history] == [1, 2, 3]
    assert record.finished


def test_a_run_that_an_older_version_finished_is_reported(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    main(options)
    RUN.write_text(as_written_before(FINISHED, RUN.read_text()))
    before = Path("run/weights.pt").read_bytes()
    Path("run/report.html").unlink()
    capsys.readouterr()
    main(options)
    assert "epoch   " not in capsys.readouterr().out
    assert Path("run/weights.pt").read_bytes() == before
    assert "1.4041" in Path("run/report.html").read_text()  # the loss of the old record's first epoch


@pytest.mark.parametrize(
    ("change", "got"),
    [
        ({"title": None, "history": 3}, "TypeError"),
        ({"asked": {"mood": "good"}}, "mood"),
        ({"asked": 3}, "AttributeError"),
        ({"history": [{"epoch": 1}]}, "TypeError"),
    ],
)
def test_a_damaged_record_is_one_line(change: dict[str, object], got: str, workplace: Path) -> None:
    Path("run").mkdir()
    RUN.write_text(json.dumps({**json.loads(FINISHED), **change}))
    with pytest.raises(
        UserError, match=r"^run must hold the files of a run, as they were written; got .*run\.json"
    ) as told:
        RunRecord.read(Path("run"))
    assert got in str(told.value)
