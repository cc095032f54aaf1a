"""From a finished study to a report and a submission, as commands, on toy images."""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cifar.checkpoint import load_model
from cifar.compilation import COMPILE_FROM, Compilation
from cifar.data.images import ImageSet
from cifar.data.prepare import prepare
from cifar.data.splits import load_test
from cifar.train import Training
from search.cli import run_command
from search.reporting.runs import run_report
from search.retrain import main as retrain_main
from search.retraining import run_length, training_loop
from search.session import run_search
from search.settings import SearchSettings
from search.study.standing import choose_trials
from search.study.study import require_study
from search.submit import main as submit_main
from tests.search_tests.conftest import at_work

RUN = Path("studies/toy/runs/trial-0-seed0")
RETRAIN = ["--study", "toy", "--device", "cpu", "--epochs", "3"]


@pytest.fixture(scope="module")
def retrained(searched: Path, kernels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the toy study, whose trial is retrained."""
    folder = tmp_path_factory.mktemp("retrained")
    shutil.copytree(searched, folder, dirs_exist_ok=True)
    with at_work(folder, kernels):
        retrain_main(RETRAIN)
    return folder


@pytest.fixture
def model(retrained: Path, workplace: Path) -> None:
    """The retrained trial in the working folder."""
    shutil.copytree(retrained, workplace, dirs_exist_ok=True)


def test_retrain_writes_a_whole_report(toy_study: SearchSettings, capsys: pytest.CaptureFixture[str]) -> None:
    retrain_main([*RETRAIN, "--trial", "best", "--tta"])
    printed = capsys.readouterr().out
    metrics = json.loads((RUN / "test_metrics.json").read_text())
    predictions = pd.read_csv(RUN / "test_predictions.csv")
    assert len(predictions) == 100
    assert metrics["accuracy"] == pytest.approx((predictions["true"] == predictions["predicted"]).mean())
    assert f"{100 * metrics['accuracy']:.2f} %" in printed
    assert "epoch   1/3" in printed
    per_class = pd.read_csv(RUN / "test_per_class.csv")
    assert len(per_class) == 4
    assert ((per_class["low"] <= per_class["accuracy"]) & (per_class["accuracy"] <= per_class["high"])).all()
    confusion = pd.read_csv(RUN / "test_confusion.csv", index_col=0)
    assert confusion.to_numpy().sum() == 100
    history = pd.read_csv(RUN / "history.csv")
    assert list(history["epoch"]) == [1, 2, 3]
    assert history["images"].sum() == pytest.approx(3 * 400, abs=3 * 256)  # train and validation images
    assert (RUN / "test_tta_metrics.json").exists()
    page = (RUN / "report.html").read_text()
    assert f"{100 * metrics['accuracy']:.2f}" in page
    assert "of at most 30,000" in page
    best = choose_trials(require_study(toy_study), "best")[0]
    assert f"{100 * (best.value or 0):.2f} % of its validation images, after 3 of 3 epochs" in page
    assert json.loads((RUN / "run.json").read_text())["ended"] in page
    assert "page        studies/toy/report.html" in printed
    assert f"{RUN.relative_to('studies/toy')}/report.html" in Path("studies/toy/report.html").read_text()
    assert not (RUN / "checkpoint.pt").exists()
    model = load_model(RUN)
    assert len(model.class_names) == 4


@pytest.mark.usefixtures("model")
def test_retraining_again_reports_the_same_run(capsys: pytest.CaptureFixture[str]) -> None:
    before = (RUN / "weights.pt").read_bytes()
    retrain_main([*RETRAIN])
    assert (RUN / "weights.pt").read_bytes() == before
    assert "epoch" not in capsys.readouterr().out.split("class")[0]


@pytest.mark.usefixtures("toy_study")
def test_a_run_interrupted_before_its_report_gets_it_from_the_same_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(result: object, origin: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_report, "write_run_report", interrupted)
        assert run_command(retrain_main, RETRAIN) == 130
    assert json.loads((RUN / "run.json").read_text())["finished"]
    assert not (RUN / "report.html").exists()
    before = (RUN / "weights.pt").read_bytes()
    capsys.readouterr()
    retrain_main(RETRAIN)
    assert "epoch" not in capsys.readouterr().out.split("class")[0]
    assert (RUN / "weights.pt").read_bytes() == before
    assert (RUN / "report.html").exists()
    assert list(pd.read_csv(RUN / "history.csv")["epoch"]) == [1, 2, 3]


@pytest.mark.usefixtures("model")
def test_other_settings_do_not_overwrite_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    before = (RUN / "weights.pt").read_bytes()
    assert run_command(retrain_main, ["--study", "toy", "--device", "cpu", "--epochs", "4"]) == 2
    error = capsys.readouterr().err
    assert "continues with the settings that it began with" in error
    assert error.count("\n") == 1
    assert (RUN / "weights.pt").read_bytes() == before


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_killed_run_ends_in_the_same_weights(toy_study: SearchSettings, workplace: Path) -> None:
    options = ["--study", "toy", "--device", "cpu", "--epochs", "6", "--deterministic", "--keep", "ema"]
    line = [sys.executable, "-m", "search.retrain", *options, "--out", "killed"]
    process = subprocess.Popen(line, cwd=workplace, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for text in process.stdout:
        if text.startswith("epoch   3/6"):  # the checkpoint of epoch 2 is there, that of 3 may be
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (workplace / "killed" / "weights.pt").exists()
    retrain_main([*options, "--out", "killed"])
    retrain_main([*options, "--out", "through"])
    a, b = (torch.load(workplace / name / "weights.pt", weights_only=True) for name in ("killed", "through"))
    assert all(torch.equal(a[key], b[key]) for key in b)
    assert list(pd.read_csv(workplace / "killed" / "history.csv")["epoch"]) == [1, 2, 3, 4, 5, 6]


@pytest.mark.usefixtures("toy_study")
def test_a_time_budget_shortens_the_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    measure, measured = run_length.epoch_seconds, []

    def half_a_second(*arguments: Any) -> float:
        measured.append(measure(*arguments))
        return 0.5

    monkeypatch.setattr(run_length, "epoch_seconds", half_a_second)
    monkeypatch.setattr(training_loop, "refitted_epochs", lambda training, *_: training.length)  # by real seconds
    retrain_main(["--study", "toy", "--device", "cpu", "--time-budget", "2s"])
    assert len(measured) == 1
    assert measured[0] > 0
    assert f"{run_length.SAFETY * 2 / 0.5:g} of " in capsys.readouterr().out
    assert json.loads((RUN / "run.json").read_text())["epochs"] == 4  # in whole batches
    assert list(pd.read_csv(RUN / "history.csv")["epoch"]) == [1, 2, 3, 4]


def test_a_run_that_cannot_be_compiled_says_so_and_continues(
    options: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = Compilation(None, "not compiled, which costs only speed: no C++ compiler")
    monkeypatch.setattr(Training, "compile", lambda _: problem)
    retrain_main([*options, "--compile", "on"])
    printed = capsys.readouterr().out
    assert printed.count("not compiled, which costs only speed: no C++ compiler") == 1
    assert "epoch   3/3" in printed


@pytest.mark.parametrize(
    ("chosen", "enough", "compiled"),
    [
        ("", 0.0, True),
        ("", math.inf, False),
        ("--compile off", 0.0, False),
        ("--compile on", math.inf, True),
        ("--deterministic", 0.0, False),
    ],
)
def test_long_runs_are_compiled_after_the_first_epoch(
    options: list[str],
    chosen: str,
    enough: float,
    compiled: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(COMPILE_FROM, "cpu", enough)
    monkeypatch.setattr(Training, "compile", lambda *_: Compilation(None, "compiled"))
    torch.use_deterministic_algorithms(False)  # the mode is the process's, and other tests ask for it
    try:
        retrain_main([*options, *chosen.split()])
    finally:
        torch.use_deterministic_algorithms(False)
    lines = capsys.readouterr().out.splitlines()
    found = [i for i, line in enumerate(lines) if line.startswith("compiled, in")]
    assert len(found) == compiled
    if compiled:
        assert lines[found[0] + 1].startswith("epoch   1/3" if "on" in chosen else "epoch   2/3")


@pytest.mark.usefixtures("toy_study")
def test_validation_images_can_be_kept_for_the_best_weights() -> None:
    retrain_main([*RETRAIN, "--keep", "best", "--val-size", "100"])
    history = pd.read_csv(RUN / "history.csv")
    assert history["val_accuracy"].notna().all()


def test_top_k_compares(toy_study: SearchSettings, capsys: pytest.CaptureFixture[str]) -> None:
    run_search(replace(toy_study, max_trials=2))
    retrain_main(["--study", "toy", "--device", "cpu", "--epochs", "1", "--trial", "top-2"])
    assert len(list(Path("studies/toy/runs").iterdir())) == 2
    assert "one seed each: no verdict" in capsys.readouterr().out


def pickles(test: ImageSet, folder: Path) -> dict[str, Path]:
    """The test images in both years' layouts."""
    images = test.images.numpy()
    ids = np.arange(len(images))
    contents = {
        "2025": {b"data": np.ascontiguousarray(images.transpose(0, 2, 3, 1)), b"ids": ids},
        "2024": {b"data": images.reshape(len(images), -1), b"ids": ids},
    }
    paths = {}
    for year, content in contents.items():
        paths[year] = folder / f"test-{year}.pkl"
        paths[year].write_bytes(pickle.dumps(content))
    return paths


@pytest.mark.usefixtures("model")
def test_submissions_from_both_layouts(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predicted = pd.read_csv(RUN / "test_predictions.csv")["predicted"].to_numpy()
    names = list(load_model(RUN).class_names)
    for year, path in pickles(load_test(prepare("toy.npz")), workplace).items():
        capsys.readouterr()
        submit_main(["--model", str(RUN), "--pkl", str(path), "--out", f"{year}.csv", "--device", "cpu"])
        printed = capsys.readouterr().out
        assert ("CHW" if year == "2024" else "HWC") in printed
        assert "shift in training std" in printed
        table = pd.read_csv(f"{year}.csv")
        assert list(table.columns) == ["ID", "Labels"]
        assert list(table["ID"]) == list(range(100))
        assert [names[label] for label in table["Labels"]] == [str(name) for name in predicted]


@pytest.mark.usefixtures("model")
def test_submission_options(workplace: Path) -> None:
    path = pickles(load_test(prepare("toy.npz")), workplace)["2025"]
    common = ["--model", str(RUN), "--pkl", str(path), "--device", "cpu"]
    submit_main([*common, "--out", "a.csv", "--header", "Id,Category", "--normalization", "own", "--tta"])
    assert Path("a.csv").read_text().startswith("Id,Category\n0,")
    sample = workplace / "sample.csv"
    sample.write_text("ID,Label\n" + "".join(f"{i},0\n" for i in reversed(range(100))))
    submit_main([*common, "--out", "b.csv", "--sample", str(sample)])
    assert Path("b.csv").read_text().startswith("ID,Label\n99,")


@pytest.mark.usefixtures("model")
def test_a_hostile_pickle_executes_nothing(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, ("executed",)

    path = workplace / "hostile.pkl"
    path.write_bytes(pickle.dumps({b"data": Hostile()}))
    assert run_command(submit_main, ["--model", str(RUN), "--pkl", str(path), "--out", "s.csv"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (workplace / "executed").exists()
    assert not (workplace / "s.csv").exists()


def test_only_retraining_reads_test_images() -> None:
    root = Path(__file__).parents[3]
    readers = [
        path.relative_to(root).as_posix()
        for package in ("cifar", "spaces", "search")
        for path in (root / package).rglob("*.py")
        if "load_test" in path.read_text()
    ]
    assert sorted(readers) == ["cifar/data/splits.py", "search/retraining/retrainer.py"]
