"""What the documents tell to type runs: their commands in order, and their Python, on toy images."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cifar.data.toy import toy_npz

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"python -m search\.(\w+)([^\n`#|]*)")
SHORTER = {
    "run": "--trials 2 --max-epochs 2 --train-size 40 --val-size 60 --device cpu",
    "retrain": "--epochs 1 --train-size 40 --device cpu",
    "lr_range": "--steps 10 --train-size 40 --device cpu",
    "dashboard": "--port 0",
}
"""What is added to a documented command, so that it takes seconds; the last of two equal options holds."""
WHOLE = "20s"
"""Time budget of what is searched and retrained in one command."""
SIZE = 16
"""Side of the toy images, in pixels."""


def commands_in(document: str) -> list[str]:
    """Commands of a document that stand in blocks, or begin a row of a table."""
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"^ *```\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL))
    rows = re.findall(r"^\| `(python -m search[^`]*)` \|", text, re.MULTILINE)
    return [found[0] for found in COMMAND.finditer("\n".join([blocks, *rows]))]


def shortened(line: str) -> tuple[str, list[str]]:
    """Name and arguments of a command that does the same in seconds."""
    found = COMMAND.fullmatch(line)
    assert found is not None
    name, arguments = found[1], shlex.split(found[2])
    if "--time-budget" in arguments:
        place = arguments.index("--time-budget")
        arguments[place : place + 2] = ["--time-budget", WHOLE] if "--retrain" in arguments else []
    asks = {"--list-recipes", "--config"} & set(arguments)
    return name, arguments if asks else [*arguments, *SHORTER.get(name, "").split()]


def python_in(document: str) -> Iterator[str]:
    """The Python of a document, its searches limited to seconds."""
    for code in re.findall(r"^```python\n(.*?)^```$", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL):
        yield re.sub(r"time_budget=\d+", "max_trials=2, max_epochs=2, train_size=40, val_size=60", code)


@pytest.fixture
def reader(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working folder of somebody who has images, a picture, a Kaggle pickle, and this repository's documents."""
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
    picture(rng).save("picture.png")
    images = rng.integers(0, 256, (20, SIZE, SIZE, 3), dtype=np.uint8)
    Path("cifar_test_nolabel.pkl").write_bytes(pickle.dumps({b"data": images, b"ids": np.arange(20)}))


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


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("document", ["README.md", "docs/guides.md", "docs/when_not.md"])
def test_documented_commands_run(document: str, reader: None) -> None:
    lines = commands_in(document)
    assert lines
    for line in lines:
        name, arguments = shortened(line)
        print(f"$ {name} {shlex.join(arguments)}")
        if "onnx" in arguments and importlib.util.find_spec("onnxruntime") is None:
            continue
        if name == "dashboard":
            serve_once(arguments)
        else:
            importlib.import_module(f"search.{name}").main(arguments)


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


@pytest.mark.slow
@pytest.mark.parametrize("document", ["docs/tracking.md", "docs/spaces.md"])
def test_documented_python_runs(document: str, reader: None) -> None:
    namespace: dict[str, object] = {}
    for code in python_in(document):
        exec(compile(code, document, "exec"), namespace)


def test_what_is_shortened() -> None:
    assert shortened("python -m search.run --space a.py --time-budget 15m") == (
        "run",
        ["--space", "a.py", *SHORTER["run"].split()],
    )
    _, arguments = shortened("python -m search.run --time-budget 15m --retrain")
    assert arguments[:3] == ["--time-budget", WHOLE, "--retrain"]
    assert shortened("python -m search.show --list ") == ("show", ["--list"])
    assert len(commands_in("docs/guides.md")) > 20
