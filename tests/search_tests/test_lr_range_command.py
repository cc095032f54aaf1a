"""`python -m search.lr_range`: its files, what it prints, and the mistakes it refuses."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cifar.data.prepare import prepare
from cifar.errors import UserError
from cifar.lr_range import RangeTest
from search import lr_range
from search.cli import run_command
from search.reporting.pages.lr_range_page import RangePage, csv_text, html_text
from search.settings import SearchSettings

RECIPE = """
[network]
blocks = [1, 1, 1]
channels = [8, 16, 16]
stem = 8

[recipe]
epochs = 4
batch_size = 25
val_size = 100

[recipe.optimizer]
name = "adamw"
lr = 1e-3
"""


@pytest.fixture
def recipe(workplace: Path) -> str:
    (workplace / "small.toml").write_text(RECIPE)
    return "small.toml"


def figures(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', html)
    assert found
    result: dict[str, Any] = json.loads(found[1])
    return result


def test_it_writes_both_files_and_prints_the_suggestion(
    recipe: str, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lr_range.main(["--recipe", recipe, "--data", str(toy), "--out", "found", "--device", "cpu"])
    printed = capsys.readouterr().out
    table = pd.read_csv("found/lr_range.csv")
    assert list(table.columns) == ["step", "lr", "loss", "smoothed"]
    steps = re.search(r"(\d+) steps, (reached the highest rate|diverged at \S+)", printed)
    assert steps
    assert int(steps[1]) == len(table)
    assert table["lr"][0] == 1e-5
    least = table["lr"].to_numpy()[table["smoothed"].to_numpy().argmin()]
    suggested = f"{0.1 * least:.3g}"
    assert f"suggested learning rate: {suggested}; the recipe's own is 0.001" in printed
    assert "found/lr_range.csv" in printed
    html = Path("found/lr_range.html").read_text(encoding="utf-8")
    assert f">{suggested}<" in html
    assert "300 of toy.npz" in html or "300 of " in html
    assert not re.search(r'<(script|link|img)[^>]*(src|href)="http', html)
    assert set(figures(html)) == {"lr_range"}
    assert sorted(path.name for path in Path("found").iterdir()) == ["lr_range.csv", "lr_range.html"]


def test_the_axis_and_the_mark_follow_the_spacing_of_rates() -> None:
    result = RangeTest((0.01, 0.5, 1.0, 1.5), (1.4, 1.2, 0.8, 9.0), (1.4, 1.3, 1.0, 5.0), True)
    linear = figures(html_text(RangePage("a", {}, result, True)))["lr_range"]["layout"]
    assert linear["xaxis"]["type"] == "linear"
    assert linear["annotations"][0]["x"] == linear["shapes"][0]["x0"] == 0.1
    log = figures(html_text(RangePage("a", {}, result, False)))["lr_range"]["layout"]
    assert log["xaxis"]["type"] == "log"
    assert log["shapes"][0]["x0"] == 0.1
    assert log["annotations"][0]["x"] == -1
    assert log["yaxis"]["range"][1] < 3  # the diverging end is cut off


def test_without_a_falling_loss_nothing_is_suggested(
    recipe: str, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--recipe", recipe, "--data", str(toy), "--device", "cpu", "--steps", "10", "--high", "1e-4", "--linear"]
    lr_range.main(options)
    printed = capsys.readouterr().out
    assert "suggested learning rate: none" in printed
    assert "note: the loss did not fall: take more steps or higher rates" in printed
    folder = Path("studies/reference/lr_range/recipe-small-seed0")
    rates = pd.read_csv(folder / "lr_range.csv")["lr"]
    assert rates.diff().dropna().tolist() == pytest.approx([1e-5] * 9)
    assert "shapes" not in figures((folder / "lr_range.html").read_text())["lr_range"]["layout"]


def test_a_trial_is_tested_on_its_studys_data_and_test_images_are_never_read(
    toy_study: SearchSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in prepare(toy_study.data).folder.glob("test_*"):
        path.write_bytes(b"\0" * path.stat().st_size)  # whoever opens it fails
    lr_range.main(["--study", "toy", "--trial", "0", "--steps", "10", "--device", "cpu", "--train-size", "80"])
    printed = capsys.readouterr().out
    assert "trial 0 of study toy" in printed
    assert len(pd.read_csv("studies/toy/lr_range/trial-0-seed0/lr_range.csv")) == 10
    with pytest.raises(UserError, match="one of the study's 1 trials"):
        lr_range.main(["--study", "toy", "--trial", "7"])


def test_a_loss_that_is_no_number_is_a_gap_in_the_page_and_told_in_the_csv() -> None:
    result = RangeTest((1e-3, 1e-2, 1e-1), (1.4, 1.2, math.nan), (1.4, 1.3, math.nan), True)
    assert csv_text(result).splitlines()[-1] == "3,0.1,nan,nan"
    html = html_text(RangePage("</script><b>", {"seed": "0"}, result, False))
    assert "</script><b>" not in html
    page = figures(html)
    assert "NaN" not in json.dumps(page)
    assert page["lr_range"]["data"][0]["y"] == [1.4, 1.2, None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--low", "1", "--high", "0.1"], "must exceed the lowest; got (1.0, 0.1)"),
        (["--steps", "9"], "10 steps or more; got 9"),
        (["--low", "-1"], "a number above 0 is needed; got '-1'"),
        (["--high", "inf"], "a number above 0 is needed; got 'inf'"),
        (["--steps", "many"], "a whole number of at least 1 is needed; got 'many'"),
        (["--recipe", "gone"], "a recipe has one of the built-in names; got 'gone'"),
        (["--recipe", "small.toml", "--data", "gone.npz"], "a data source must exist; got gone.npz"),
        (["--recipe", "small.toml", "--data", "toy.npz", "--val-size", "400"], "val_size must be in 0..399"),
        (["--study", "gone"], "the study must exist; got 'gone'"),
    ],
)
def test_mistakes_are_one_line(
    options: list[str],
    message: str,
    recipe: str,
    toy: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        assert run_command(lr_range.main, options) == 2
    except SystemExit as stopped:  # argparse
        assert stopped.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("studies").exists()
