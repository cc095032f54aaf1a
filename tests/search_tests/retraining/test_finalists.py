"""Candidates compared over seeds: the choice on hand-made figures, and the command on real runs of toy images."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import optuna
import pandas as pd
import pytest
import torch

import search.retrain
import search.retraining.seeds
from cifar.candidate import Candidate
from cifar.data.prepare import prepare
from cifar.networks.complexity import Cost
from cifar.networks.resnet import ResNetConfig
from cifar.recipe import Recipe
from cifar.stats.student import mean_interval
from search.cli import run_command
from search.format import format_p_value
from search.planning.plan import Plan
from search.reporting.runs.finalists_report import print_finals, write_finals
from search.retrain import main
from search.retraining.finalists import Finalist, Finals, Sample, compare_finalists
from search.retraining.run_record import RunRecord
from search.settings import SearchSettings
from search.study.attributes import CANDIDATE, PLAN, SOURCE
from search.study.storage import open_storage
from tests.search_tests.retraining.old_runs import FINISHED

# ---- hand-made figures


def made(name: str, validation: list[float], test: list[float] | None = None, images: int = 1000) -> Finalist:
    """A finalist with these accuracies by seed."""
    seeds = tuple(range(len(validation)))
    return Finalist(
        name=name,
        seeds=seeds,
        folders=tuple(Path(f"runs/{name}-seed{seed}") for seed in seeds),
        validation=Sample(tuple(validation)),
        test=Sample(tuple(test or validation)),
        record=replace(RunRecord.from_dict(json.loads(FINISHED)), val_images=images),
        epochs=(3.0,) * len(seeds),
        cost=Cost(parameters=1000, macs=2_000_000),
        seconds=60.0,
    )


def test_a_winner_by_hand() -> None:
    """Differences of 3, 4 and 5 points: mean 4, standard error 1 / sqrt(3), t = 4 sqrt(3), two degrees of freedom."""
    finals = compare_finalists([made("trial 3", [0.80, 0.81, 0.79]), made("trial 7", [0.83, 0.85, 0.84])])
    (pair,) = finals.pairs
    t = 4 * math.sqrt(3)
    assert pair.test.p == pair.adjusted_p == pytest.approx(1 - t / math.sqrt(2 + t * t))  # 0.0202
    half = 100 * 4.302653 * 0.01 / math.sqrt(3)
    assert finals.verdict == (
        f"trial 7 is better than trial 3 (difference +4.00 points, 95 % interval {4 - half:+.2f} to {4 + half:+.2f}, "
        f"{format_p_value(pair.test.p)})"
    )


def test_p_values_are_holms_over_all_pairs() -> None:
    a, b, c = made("a", [0.90, 0.92, 0.91]), made("b", [0.87, 0.90, 0.89]), made("c", [0.89, 0.93, 0.91])
    finals = compare_finalists([b, c, a])
    assert [one.name for one in finals.finalists] == ["c", "a", "b"]  # a and c are equal: as given
    smallest = min(finals.pairs, key=lambda pair: pair.test.p)
    assert smallest.adjusted_p == pytest.approx(3 * smallest.test.p)
    against_a, against_b = finals.leaders_pairs
    assert (against_a.other.name, against_b.other.name) == ("a", "b")
    assert against_b.test.p < 0.05 < against_b.adjusted_p  # alone it would count
    assert finals.verdict.startswith("the seeds do not tell c apart from a (difference +0.00 points, 95 % interval -")
    assert ") and b (difference +2.33 points" in finals.verdict
    assert finals.verdict.endswith(" after Holm)")


def test_some_are_beaten_and_some_are_not() -> None:
    finals = compare_finalists(
        [made("a", [0.9, 0.91, 0.89, 0.9]), made("b", [0.1, 0.12, 0.1, 0.11]), made("c", [0.91, 0.9, 0.9, 0.9])]
    )
    beaten, level = finals.verdict.split("; ")
    assert beaten.startswith("c is better than b (difference +79.50 points")
    assert level.startswith("the seeds do not tell c apart from a (difference +0.25 points")


@pytest.mark.parametrize("gap", [0.0, 0.001, 0.3])
def test_equal_differences_are_no_evidence(gap: float) -> None:
    """Three equal differences leave no spread, also where floating point makes them differ in the last digit."""
    lower = [0.123, 0.456, 0.657]
    finals = compare_finalists([made("a", lower), made("b", [value + gap for value in lower])])
    assert (finals.pairs[0].adjusted_p, finals.pairs[0].test.interval) == (1.0, None)
    assert f"(difference {100 * gap:+.2f} points at every seed, so no spread to test it by)" in finals.verdict


def test_test_images_choose_nothing() -> None:
    one, other = made("a", [0.7, 0.72, 0.71], [0.9, 0.9, 0.91]), made("b", [0.8, 0.83, 0.82], [0.1, 0.2, 0.1])
    changed = [replace(one, test=other.test), replace(other, test=one.test)]
    finals, again = compare_finalists([one, other]), compare_finalists(changed)
    assert finals.leader.name == again.leader.name == "b"
    assert finals.verdict == again.verdict
    blind = compare_finalists([replace(one, validation=None), replace(other, validation=None)])
    assert [finalist.name for finalist in blind.finalists] == ["a", "b"]  # as given, though b's tests are worse
    assert blind.verdict == "no validation images: no verdict, since the test images choose nothing"


def test_one_seed_or_one_finalist_gives_no_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    single = compare_finalists([made("a", [0.7]), made("b", [0.8])])
    assert single.pairs == ()
    assert single.verdict.startswith("one seed each: no verdict")
    assert (single.leader.name, Sample((0.8,)).interval, Sample((0.8,)).deviation) == ("b", None, None)
    print_finals(single)
    assert "One seed, or seeds" in capsys.readouterr().out
    assert compare_finalists([made("a", [0.7, 0.8])]).verdict == "one finalist: nothing to choose from"


def test_intervals_stay_within_0_and_1() -> None:
    assert Sample((0.0, 1.0)).interval == (0.0, 1.0)


def test_files_tell_what_the_figures_say(workplace: Path) -> None:
    finals: Finals = compare_finalists([made("a", [0.70, 0.72, 0.71]), made("b", [0.80, 0.83, 0.82], [0.5, 0.6, 0.7])])
    paths = write_finals(Path("out"), "finalists", "Finalists", finals)
    assert paths == [Path("out/finalists.csv"), Path("out/finalists.md")]
    leader, other = pd.read_csv(paths[0]).to_dict("records")
    assert (leader["finalist"], other["finalist"], leader["seeds"]) == ("b", "a", "0 1 2")
    assert (leader["val_low"], leader["val_high"]) == pytest.approx(mean_interval([0.80, 0.83, 0.82]))
    assert (leader["test_accuracies"], leader["test_mean"]) == ("0.5 0.6 0.7", pytest.approx(0.6))
    assert other["leader_less_this"] == pytest.approx(finals.pairs[0].test.difference)
    assert other["p_holm"] == pytest.approx(finals.pairs[0].adjusted_p)
    assert math.isnan(leader["p_holm"])
    page = paths[1].read_text()
    assert f"Verdict: **{finals.verdict}**." in page
    assert "300 training images of `toy.npz`" in page
    assert page.count("\n| b | ") == 5  # validation, test, and a run a seed
    assert page.index("## Validation accuracy") < page.index("## Test accuracy")


# ---- the command

RECIPE = Recipe(epochs=2, batch_size=50, val_size=0)
NETWORK = ResNetConfig(blocks=(1, 1, 1), channels=(8, 8, 8), stem=8, num_classes=4, image_size=16)
OPTIONS = ["--study", "toy", "--device", "cpu", "--val-size", "100", "--epochs", "2"]


STUDYS_PLAN = Plan(
    min_epochs=1,
    max_epochs=1,
    eta=2,
    train_size=300,
    val_size=100,
    val_limit=100,
    param_budget=30_000,
    mac_budget=None,
    image_size=16,
)


@pytest.fixture
def study(toy: Path) -> Path:
    """A study of two trials of one candidate; returns the folder of its runs."""
    study = optuna.create_study(
        study_name="toy", storage=open_storage(SearchSettings(study="toy")), direction="maximize"
    )
    study.set_user_attr(SOURCE, prepare(str(toy)).source)
    study.set_user_attr(PLAN, asdict(STUDYS_PLAN))
    attributes = {CANDIDATE: Candidate(NETWORK, RECIPE).to_dict()}
    for value in (0.9, 0.8):
        study.add_trial(optuna.trial.create_trial(value=value, user_attrs=attributes, intermediate_values={1: value}))
    return Path("studies/toy/runs")


def test_equal_candidates_are_equal(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([*OPTIONS, "--trial", "top-2", "--seeds", "2", "--seed", "5", "--keep", "best"])
    printed = capsys.readouterr().out
    assert "4 runs, seeds 5 to 6: compared on 100 validation images" in printed
    runs = [f"trial-{trial}-seed{seed}" for trial in (0, 1) for seed in (5, 6)]
    assert sorted(path.name for path in study.iterdir()) == runs
    equal = "trial 1 (difference +0.00 points at every seed, so no spread to test it by)"
    assert f"\nthe seeds do not tell trial 0 apart from {equal}\n" in printed
    leader, other = pd.read_csv("studies/toy/finalists.csv").to_dict("records")
    assert (other["leader_less_this"], other["p"], other["p_holm"]) == (0.0, 1.0, 1.0)
    best = [pd.read_csv(study / name / "history.csv")["val_accuracy"].max() for name in runs[:2]]
    assert all(f"validation {100 * accuracy:.2f} %" in printed for accuracy in best)
    tested = [json.loads((study / name / "test_metrics.json").read_text())["accuracy"] for name in runs[:2]]
    assert (leader["val_mean"], leader["test_mean"]) == pytest.approx((sum(best) / 2, sum(tested) / 2))


def test_an_interrupted_command_is_resumed(
    study: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def interrupted(line: str) -> None:
        told.append(line)
        if len(told) == 4:  # seed 1, after its second epoch of two and before that is saved
            raise KeyboardInterrupt

    options = [*OPTIONS, "--trial", "0"]
    with monkeypatch.context() as patch:
        patch.setattr(search.retrain, "_say", interrupted)
        assert run_command(main, [*options, "--seeds", "2"]) == 130
    finished, stopped = study / "trial-0-seed0", study / "trial-0-seed1"
    before = (finished / "weights.pt").read_bytes()
    assert not (stopped / "weights.pt").exists()
    assert not Path("studies/toy/finalists.csv").exists()
    capsys.readouterr()
    main([*options, "--seeds", "2"])
    printed = capsys.readouterr().out
    assert printed.count("epoch   ") == 1
    assert "continuing after epoch 1 of 2" in printed
    assert (finished / "weights.pt").read_bytes() == before
    assert pd.read_csv("studies/toy/finalists.csv")["seeds"].item() == "0 1"
    main([*options, "--seed", "1", "--out", "through"])
    a, b = (torch.load(folder / "weights.pt", weights_only=True) for folder in (stopped, Path("through")))
    assert all(torch.equal(a[key], b[key]) for key in b)


def test_seeds_keep_validation_images_and_train_equally_long(
    toy: Path, workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.retraining.seeds, "VAL_SIZE", 100)  # the toy images are too few for 5,000
    (workplace / "tiny.toml").write_text(
        '[network]\nkind = "cnn"\nstages = [[8]]\nhidden = []\n[recipe]\nepochs = 50\nbatch_size = 50\nval_size = 0\n'
    )
    main(["--recipe", "tiny.toml", "--data", str(toy), "--device", "cpu", "--seeds", "2", "--time-budget", "0.4s"])
    printed = capsys.readouterr().out
    assert "one finalist: nothing to choose from" in printed
    assert "compared on 100 validation images" in printed
    runs = [json.loads(Path(f"studies/reference/runs/recipe-tiny-seed{seed}/run.json").read_text()) for seed in (0, 1)]
    assert runs[0]["epochs"] == runs[1]["epochs"] < 50
    assert [run["val_images"] for run in runs] == [100, 100]
    assert Path("studies/reference/finalists-recipe-tiny.md").read_text().startswith("# Seeds of recipe tiny\n")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--seeds 0", "argument --seeds: a whole number of at least 1 is needed; got '0'"),
        ("--seeds many", "argument --seeds: a whole number of at least 1 is needed; got 'many'"),
        ("--seeds 2 --out toy.npz", "--out must be a folder; got toy.npz, a file"),
        ("--out toy.npz/run", "--out must be a folder; got toy.npz, a file"),
        ("--seeds 2 --out run", "--out must be a folder that can hold a folder for each run; got run"),
        ("--trial top-2 --out run", "--out must be a folder that can hold a folder for each run; got run"),
        (
            "--seeds 3 --out runs",
            "continues with the settings that it began with; got other settings for runs/trial-0-seed2",
        ),
        ("--seeds 2 --val-size 400", "val_size must be in 0..399"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_trained(
    study: Path, line: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("run", "runs/trial-0-seed2"):
        Path(folder).mkdir(parents=True)
        (Path(folder) / "run.json").write_text(FINISHED)
    before = sorted(Path().rglob("*"))
    try:
        status = run_command(main, [*OPTIONS, *line.split()])
    except SystemExit as stop:
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    assert status == 2
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert "epoch " not in captured.out
    assert [path for path in sorted(Path().rglob("*")) if "cache" not in path.parts] == [
        path for path in before if "cache" not in path.parts
    ]
