"""Comparing finished runs: the arithmetic, and the command on real runs of toy images."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cifar.candidate import Candidate
from cifar.data.prepare import prepare
from cifar.data.toy import toy_npz
from cifar.networks.resnet import ResNetConfig
from cifar.recipe import Recipe
from cifar.runtime.device import choose_device
from cifar.stats.intervals import wilson_interval
from cifar.stats.paired_tests import EXACT_BELOW, holm, mcnemar, paired_interval
from search.cli import run_command
from search.format import format_p_value, format_points
from search.report import main
from search.retraining.comparison import compare, letter
from search.retraining.finished_run import find_run, load_run
from search.retraining.retrainer import retrain
from search.retraining.settings import RetrainSettings
from search.settings import StudyError
from tests.browser import Browser

# ---- arithmetic


def test_few_discordant_images_are_tested_exactly() -> None:
    result = mcnemar(1, 7)
    assert result.p == pytest.approx(2 * (1 + 8) / 2**8)  # by hand: P(at most 1 of 8) twice
    assert (result.statistic, result.method) == (None, "exact binomial")
    assert mcnemar(4, 4).p == 1.0
    assert mcnemar(0, 0).p == 1.0


def test_many_discordant_images_are_tested_by_chi_square() -> None:
    """McNemar 1947 with Edwards' correction: |121 - 59| - 1 = 61, 61^2 / 180 = 20.67."""
    result = mcnemar(121, 59)
    assert result.statistic == pytest.approx(61**2 / 180)
    assert result.p == pytest.approx(math.erfc(math.sqrt(61**2 / 180 / 2)))
    assert result.p == pytest.approx(5.45e-6, rel=0.01)  # chi-square table, one degree of freedom
    assert mcnemar(50, 50).p == 1.0  # the correction never turns a tie into a difference


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_test_is_symmetric_and_a_probability(a: int, b: int) -> None:
    one, other = mcnemar(a, b), mcnemar(b, a)
    assert one.p == other.p
    assert 0 <= one.p <= 1
    assert (one.statistic is None) == (a + b < EXACT_BELOW)
    if abs(a - b) >= 1 and min(a, b) > 0:
        assert mcnemar(max(a, b) + 1, min(a, b) - 1).p <= one.p  # further apart is less likely by chance


@pytest.mark.parametrize("a", [8, 10, 12, 14])
def test_both_forms_agree_where_they_meet(a: int) -> None:
    discordant = EXACT_BELOW + 1
    exact = min(1.0, 2 * sum(math.comb(discordant, k) for k in range(min(a, discordant - a) + 1)) / 2**discordant)
    assert mcnemar(a, discordant - a).p == pytest.approx(exact, abs=0.01)


def test_the_paired_interval_by_hand() -> None:
    """b = 2, c = 8 of n = 98: 6 / 100 -+ 1.96 sqrt(11 - 36 / 100) / 100."""
    spread = 1.959964 * math.sqrt(10.64) / 100
    assert paired_interval(2, 8, 98) == pytest.approx((0.06 - spread, 0.06 + spread), abs=1e-6)
    assert paired_interval(0, 0, 0) == (-1.0, 1.0)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 500))
def test_the_paired_interval_holds_the_difference(only_first: int, only_second: int, rest: int) -> None:
    total = only_first + only_second + rest
    low, high = paired_interval(only_first, only_second, total)
    assert -1 <= low <= high <= 1
    if total:
        assert low <= (only_second - only_first) / total <= high
        turned = paired_interval(only_second, only_first, total)
        assert turned == pytest.approx((-high, -low))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_lies_between_the_p_value_and_bonferroni(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert p <= q <= 1
        assert q <= max(p_values) * len(p_values)
    assert sorted(range(len(adjusted)), key=lambda k: (adjusted[k], p_values[k])) == sorted(
        range(len(adjusted)), key=p_values.__getitem__
    )


def test_words() -> None:
    assert (letter(0), letter(25), letter(26)) == ("A", "Z", "27")
    assert [format_p_value(p) for p in (1e-9, 0.00321, 0.0321, 0.321)] == [
        "p < 0.0001",
        "p = 0.0032",
        "p = 0.032",
        "p = 0.32",
    ]
    assert (format_points(-1e-9), format_points(0.0123), format_points(-0.5, 1)) == ("+0.00", "+1.23", "-50.0")


# ---- runs


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs, `short` and `long`, of a tiny network on toy images."""
    folder = tmp_path_factory.mktemp("trained")
    data = prepare(toy_npz(folder / "toy.npz", train=400, test=100, size=16), cache=folder / "cache")
    network = ResNetConfig(blocks=(1, 1, 1), channels=(8, 8, 8), stem=8)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name, epochs in (("short", 1), ("long", 6)):
            candidate = Candidate(network, Recipe(epochs=epochs, batch_size=32, val_size=0))
            run = RetrainSettings(val_size=0)
            retrain(candidate, f"<b>{name}", folder / name, data, run, choose_device("cpu"), lambda line: None)
    finally:
        torch.set_num_threads(threads)
    return folder


@pytest.fixture
def runs(trained: Path, workplace: Path) -> Path:
    """The finished runs as `a` and `b` in the working folder, to be changed at will."""
    for name, copied in (("short", "a"), ("long", "b")):
        shutil.copytree(trained / name, workplace / copied)
    return workplace


def test_the_numbers_are_those_of_the_predictions(runs: Path) -> None:
    comparison = compare([load_run(runs / "a"), load_run(runs / "b")])
    a, b = (pd.read_csv(runs / name / "test_predictions.csv", dtype=str) for name in "ab")
    right_a, right_b = (table["true"] == table["predicted"] for table in (a, b))
    first, second = comparison.runs
    assert (first.accuracy, second.accuracy) == (right_a.mean(), right_b.mean())
    assert first.interval == wilson_interval(int(right_a.sum()), 100)
    (pair,) = comparison.pairs
    assert (pair.test.only_first, pair.test.only_second) == ((right_a & ~right_b).sum(), (right_b & ~right_a).sum())
    assert pair.test == mcnemar(pair.test.only_first, pair.test.only_second)
    assert pair.adjusted_p == pair.test.p
    assert pair.low <= pair.difference <= pair.high
    for row in pair.classes:
        own = a["true"] == row.name
        assert row.images == own.sum()
        assert (row.first, row.second) == (right_a[own].mean(), right_b[own].mean())
    cost = ResNetConfig(blocks=(1, 1, 1), channels=(8, 8, 8), stem=8, num_classes=4, image_size=16).cost()
    assert second.cost == cost
    assert len(second.record.history) == 6
    assert second.record.seconds > 0


def test_the_command_prints_and_writes(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--compare", "a", "b", "--out", "out"])
    printed = capsys.readouterr().out
    pair = compare([load_run(runs / "a"), load_run(runs / "b")]).pairs[0]
    assert f"B against A: {pair.verdict}" in printed
    assert "McNemar's test" in printed
    assert "Holm" not in printed  # one pair needs no correction
    assert "Another training" in printed
    table = pd.read_csv(runs / "out" / "pairs.csv")
    assert table["p"].item() == pytest.approx(pair.test.p)
    assert table["verdict"].item() == pair.verdict
    assert pd.read_csv(runs / "out" / "runs.csv")["accuracy"].tolist() == [pair.first.accuracy, pair.second.accuracy]
    per_class = pd.read_csv(runs / "out" / "per_class.csv")
    assert per_class["difference"].tolist() == pytest.approx([row.difference for row in pair.classes])
    page = (runs / "out" / "comparison.html").read_text()
    for text in (pair.verdict, f"{pair.second.cost.parameters:,}", f"{pair.second.cost.macs:,}"):
        assert text in page
    assert not re.search(r'(src|href)="(?!data:)', page.split("<script")[0])


def test_equal_predictions_show_no_difference(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs / "a", runs / "c")
    main(["--compare", "a", "b", "c"])
    printed = capsys.readouterr().out
    assert "C against A: no difference shown at this sample size" in printed
    assert "p = 1.00, p = 1.00 after Holm's correction for 2 comparisons" in printed
    assert (runs / "comparison" / "comparison.html").exists()


def test_a_recipes_name_finds_its_run(runs: Path) -> None:
    folder = Path("studies/reference/runs/recipe-tiny-seed0")
    shutil.copytree(runs / "a", folder)
    assert find_run("tiny") == find_run("recipe-tiny") == find_run("recipe-tiny-seed0") == folder
    shutil.copytree(folder, folder.with_name("recipe-tiny-seed1"))
    with pytest.raises(StudyError, match=r"must fit one run; got 'tiny', which fits .*seed0, .*seed1"):
        find_run("tiny")


def unfinished(folder: Path) -> None:
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**run, "finished": False}))


def other_data(folder: Path) -> None:
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**run, "asked": {"data": "0" * 64}}))


def other_labels(folder: Path) -> None:
    table = pd.read_csv(folder / "test_predictions.csv")
    table["true"] = table["true"].iloc[::-1].to_numpy()
    table.to_csv(folder / "test_predictions.csv", index=False)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (unfinished, "only finished runs can be compared"),
        (other_data, "compared runs must have been evaluated on the same images"),
        (other_labels, "compared runs must have been evaluated on the same images"),
        (lambda folder: (folder / "test_predictions.csv").write_text(""), "must hold the files of a finished run"),
        (lambda folder: (folder / "run.json").write_text("{"), "must be valid JSON"),
        (lambda folder: (folder / "run.json").write_text('{"finished": true}'), "must hold the files"),
    ],
)
def test_what_does_not_compare_is_told_in_one_line(
    runs: Path, change: Callable[[Path], None], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(runs / "b")
    assert run_command(main, ["--compare", "a", "b"]) == 2
    captured = capsys.readouterr()
    assert expected in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not (runs / "comparison").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "the study must exist; got 'resnet_budget5m'"),
        (["--compare", "a"], "at least two runs; got a"),
        (["--compare", "a", "./a"], "needs different runs"),
        (["--compare", "a", "nowhere"], "got 'nowhere'"),
    ],
)
def test_what_is_missing_is_told_in_one_line(
    runs: Path, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(main, arguments) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def test_a_browser_draws_the_page(runs: Path, browser: Browser) -> None:
    shutil.move(runs / "b", runs / "<b>&amp;")
    main(["--compare", "a", "<b>&amp;", "--out", "out"])
    opened = browser.open(runs / "out" / "comparison.html")
    assert opened.console == []
    assert opened.draws("accuracy")
    assert opened.draws("classes-B")
    assert "B: &lt;b&gt;&amp;amp;" in opened.dom
