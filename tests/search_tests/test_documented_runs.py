"""What the documents tell to type runs: their commands in order, and their Python, on toy images."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import os
import pickle
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from cifar.data.toy import toy_npz
from search.cli import run_command
from tests.search_tests.engine import test_ray_engine
from tests.search_tests.study import test_postgres

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"python -m search\.(\w+)([^\n`#|]*)")
VIEWER = re.compile(r"optuna-dashboard sqlite[^\n`]*")
SEARCHED = ("python -m search.run --space resnet_budget5m --time-budget 15m --retrain",)
"""What a reader of most documents has done before: the README's command."""
DOCUMENTS = {
    "README.md": (),
    "docs/commands.md": (),
    "docs/export.md": SEARCHED,
    "docs/guides.md": (),
    "docs/how_it_works.md": (),
    "docs/objectives.md": (),
    "docs/reliability.md": SEARCHED,
    "docs/settings.md": (),
    "docs/spaces.md": (),
    "docs/tracking.md": SEARCHED,
    "docs/when_not.md": (),
}
"""Documents whose commands run here, with those that were run before."""
ELSEWHERE = {
    "docs/cluster.md": {
        "--engine ray --address": test_ray_engine.test_a_node_that_is_gone_in_mid_trial_loses_no_trial,
        "--engine ray": test_ray_engine.test_the_command_searches_and_plans_for_a_node,
        "postgresql": test_postgres.test_eight_calls_at_once_bear_that_one_is_killed,
        "search.dashboard": None,  # as everywhere: the guides' runs
        "search.report": None,
    }
}
"""Documents about other machines: what their commands have, and the test that runs such commands on this one."""
STANDS_FOR = {"NAME": "resnet_budget5m", "FILE": "weights.pth"}
"""What words in capitals stand for."""
SHORTER = {
    "run": "--max-epochs 2 --train-size 40 --val-size 60 --device cpu",
    "retrain": "--epochs 1 --train-size 40 --device cpu",
    "lr_range": "--steps 10 --train-size 40 --device cpu",
    "dashboard": "--port 0",
}
"""What is added to a documented command, so that it takes seconds; the last of two equal options holds."""
TRIALS = "--trials 2"
"""Of searches that do not name a number."""
WHOLE = "20s"
"""Time budget of what is searched and retrained in one command."""
SIZE = 16
"""Side of the toy images, in pixels."""


def commands_in(document: str) -> list[str]:
    """Commands of a document, wherever they stand, each once; in spaces of prose too."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return list(dict.fromkeys(found[0].strip() for found in COMMAND.finditer(text)))


def shortened(line: str) -> tuple[str, list[str]]:
    """Name and arguments of a command that does the same in seconds."""
    found = COMMAND.fullmatch(line)
    assert found is not None
    name, arguments = found[1], [STANDS_FOR.get(word, word) for word in shlex.split(found[2])]
    whole = "--retrain" in arguments or "--config" in arguments  # a file may ask for both
    if "--time-budget" in arguments:
        place = arguments.index("--time-budget")
        del arguments[place : place + 2]
    if "--list-recipes" in arguments:
        return name, arguments
    trials = TRIALS if name == "run" and "--trials" not in arguments else ""
    budget = f"--time-budget {WHOLE}" if whole else ""
    return name, [*arguments, *f"{budget} {trials} {SHORTER.get(name, '')}".split()]


def python_in(document: str) -> Iterator[str]:
    """The Python of a document, its searches limited to seconds."""
    for code in re.findall(r"^```python\n(.*?)^```$", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL):
        yield re.sub(r"time_budget=\d+", "max_trials=2, max_epochs=2, train_size=40, val_size=60", code)


@pytest.fixture
def reader(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working folder of somebody who has images, pictures, Kaggle pickles, a table of curves, pretrained weights, a
    settings file as the document about settings has it, and this repository's documents.
    """
    monkeypatch.setenv("CIFAR_DATA", str(toy_npz(workplace / "toy.npz", train=400, test=100, size=SIZE)))
    Path("docs").symlink_to(ROOT / "docs")
    rng = np.random.default_rng(0)
    for part, count in (("my_images/train", 30), ("my_images/test", 10), ("my_folders", 40)):
        for name in ("cup", "fork", "knife", "spoon"):
            folder = Path(part, name)
            folder.mkdir(parents=True)
            for number in range(count):
                picture(rng).save(folder / f"{number}.png")
    shutil.make_archive("my_images", "zip", "my_images")
    Path("my_pictures").mkdir()
    for path in ("picture.png", "my_pictures/a.png", "my_pictures/b.png"):
        picture(rng).save(path)
    images = rng.integers(0, 256, (20, SIZE, SIZE, 3), dtype=np.uint8)
    for path in ("cifar_test_nolabel.pkl", "test.pkl"):
        Path(path).write_bytes(pickle.dumps({b"data": images, b"ids": np.arange(20)}))
    Path("sample_submission.csv").write_text("ID,Labels\n" + "".join(f"{number},0\n" for number in range(20)))
    curves = np.sort(rng.uniform(0, 1, (50, 9)), axis=1)[:, ::-1]
    np.savez("table.npz", hyperparameters=rng.uniform(0, 1, (50, 2)), valid_loss=curves)
    monkeypatch.setenv("CURVES", "table.npz")
    (settings,) = re.findall(r"^```toml\n(.*?)^```$", (ROOT / "docs/settings.md").read_text(), re.MULTILINE | re.DOTALL)
    Path("study.toml").write_text(settings)


def picture(rng: np.random.Generator) -> Image.Image:
    return Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))


def serve_once(arguments: list[str]) -> None:
    """Starts a command that serves until Ctrl-C, and ends it once it tells its address."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "search.dashboard", *arguments]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        try:
            assert server.stdout.readline().startswith("http://")
        finally:
            server.kill()


def viewed_once(line: str) -> list[str]:
    """The studies that Optuna's own dashboard lists, which is started and ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program, *words = shlex.split(line)
    beside = Path(sys.executable).with_name(program)
    with subprocess.Popen([beside, *words, "--port", str(port)], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            assert "Listening" in server.stderr.readline()
            return [study["study_name"] for study in answer(f"http://127.0.0.1:{port}/api/studies")["study_summaries"]]
        finally:
            server.kill()


def answer(address: str) -> dict[str, Any]:
    """What a server answers, as soon as it does."""
    while True:
        try:
            with urllib.request.urlopen(address) as found:
                return dict(json.load(found))
        except (ConnectionError, urllib.error.URLError):
            time.sleep(0.05)


def status_of(line: str) -> int:
    """The exit status of a documented command; 0 too where it names the optional package that is not installed here."""
    name, arguments = shortened(line)
    print(f"$ {name} {shlex.join(arguments)}")
    if "resnet18_transfer" in arguments:
        torch.save(torchvision.models.resnet18().state_dict(), STANDS_FOR["FILE"])
    if name == "dashboard":
        serve_once(arguments)
        return 0
    lacks = {"export": "onnxruntime", "retrain": "tensorboard"}.get(name, "torch")
    asks = {"export": "onnx" in arguments, "retrain": "--tensorboard" in arguments}.get(name, False)
    lacking = asks and importlib.util.find_spec(lacks) is None
    status = run_command(importlib.import_module(f"search.{name}").main, arguments)
    return int(status != 2) if lacking else status


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("document", DOCUMENTS)
def test_documented_commands_run(document: str, reader: None) -> None:
    lines = [*DOCUMENTS[document], *commands_in(document)]
    assert [(status, line) for line in lines if (status := status_of(line))] == []
    viewers = VIEWER.findall((ROOT / document).read_text())
    assert [viewed_once(line) for line in viewers] == [["small"]] * len(viewers)


def test_every_command_runs_somewhere() -> None:
    documents = {str(path.relative_to(ROOT)) for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))}
    assert {document for document in documents if commands_in(document)} == DOCUMENTS.keys() | ELSEWHERE.keys()
    for document, tests in ELSEWHERE.items():
        assert [line for line in commands_in(document) if not any(words in line for words in tests)] == []


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_the_cluster_s_commands_run(reader: None, workplace: Path) -> None:
    from ray.cluster_utils import Cluster

    lines = [line for line in commands_in("docs/cluster.md") if "--engine ray" in line]
    assert len(lines) == 3
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=2, num_gpus=1)  # a GPU by name only: SHORTER has the device
        for place, line in enumerate(lines):
            name, arguments = shortened(line)
            folder = workplace / f"{place}"
            (folder / "bucket").mkdir(parents=True)
            ours = {
                "auto": cluster.address,
                "s3://bucket/searches": f"file://{folder}/bucket",
                "sqlite:////home/me/searches.db": f"sqlite:///{folder}/searches.db",
            }
            command = [
                sys.executable,
                "-m",
                f"search.{name}",
                *(ours.get(argument, argument) for argument in arguments),
            ]
            done = subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True)
            assert (done.returncode, done.stderr) == (0, b""), line
            assert (folder / "studies").is_dir()
            assert ("s3://" in line) == any(folder.glob("bucket/*/study.json"))
    finally:
        cluster.shutdown()


def test_the_readme_s_python_runs(reader: None, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = python_in("README.md")
    assert 8 <= len(code.strip().splitlines()) <= 11
    exec(compile(code, "README.md", "exec"), {})
    assert "the baseline" in capsys.readouterr().out


def executed(document: str) -> dict[str, Any]:
    """What a document's Python leaves, run from its first line to its last."""
    namespace: dict[str, Any] = {}
    for code in python_in(document):
        exec(compile(code, document, "exec"), namespace)
    return namespace


@pytest.mark.slow
def test_the_documented_callbacks_are_told(reader: None, capsys: pytest.CaptureFixture[str]) -> None:
    trained = sum(len(trial.intermediate_values) for trial in executed("docs/tracking.md")["study"].trials)
    assert len(re.findall(r"^trial \d+, epoch \d+: 0\.\d{4}$", capsys.readouterr().out, re.MULTILINE)) == trained > 0
    assert list(Path("studies/mine/tensorboard").glob("*/events.*"))


@pytest.mark.slow
def test_the_documented_prior_is_one(reader: None) -> None:
    left = executed("docs/spaces.md")
    short, long = (left["prior"](None, passes) for passes in (1, 100))
    assert short.point == long.point
    assert (short.spread["dropout"], long.spread["dropout"]) == (0.02, 0.2)


@pytest.mark.slow
def test_an_exported_model_runs_as_documented(reader: None, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime", reason="needs the packages of the extra `export`")
    assert not any(map(status_of, (*SEARCHED, *commands_in("docs/export.md"))))
    (code,) = python_in("docs/export.md")
    images = np.zeros((3, 3, SIZE, SIZE), dtype=np.uint8)
    exec(compile(code, "docs/export.md", "exec"), {"images": images})
    predicted = ast.literal_eval(capsys.readouterr().out.splitlines()[-1])
    assert len(predicted) == 3
    assert set(predicted) <= {"0", "1", "2", "3"}


def test_what_is_shortened() -> None:
    short = SHORTER["run"].split()
    assert shortened("python -m search.run --space a.py --time-budget 15m") == (
        "run",
        ["--space", "a.py", *TRIALS.split(), *short],
    )
    assert shortened("python -m search.run --trials 9") == ("run", ["--trials", "9", *short])
    _, arguments = shortened("python -m search.run --time-budget 15m --retrain")
    assert arguments[:3] == ["--retrain", "--time-budget", WHOLE]
    assert shortened("python -m search.show --study NAME") == ("show", ["--study", "resnet_budget5m"])
    assert len(commands_in("docs/guides.md")) > 20
