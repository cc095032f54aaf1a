"""What prepares a run on a GPU without a network, and the run itself, on a CPU: packed, cut, continued, collected."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import gpu_prepare, gpu_run
from benchmarks.gpu_prepare import needed, normal, pack, project_requirements
from benchmarks.gpu_run import pack_results, run
from benchmarks.gpu_steps import Places, Step, plan_table, steps
from cifar.data.toy import toy_npz
from cifar.recipe import recipe_names

INSTALLED = sorted({normal(found.metadata["Name"]) for found in importlib.metadata.distributions()})
APPEND = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.open('a').write('x'); sys.exit(len(sys.argv) - 2)"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    data = toy_npz(tmp_path / "toy.npz", train=80, test=40, size=16)
    pack(data, tmp_path / "packed", "3.12", "x86_64", INSTALLED)
    return Places(tmp_path / "packed", tmp_path / "state", tmp_path / "out", "cpu")


def appending(name: str, places: Places, *, fails: bool = False) -> Step:
    """Leaves a letter in a file of its name for each time that it runs."""
    return Step(name, ("-c", APPEND, str(places.state / name), *["more"] * fails), 1)


def manifest(places: Places) -> Any:
    return json.loads((places.out / "manifest.json").read_text())


def ticking(seconds: float) -> Callable[[], float]:
    return itertools.count(0.0, seconds).__next__


def test_only_what_is_missing_is_fetched(tmp_path: Path) -> None:
    asked: list[tuple[str, ...]] = []

    def fetched(requirements: Sequence[str], python: str, machine: str, folder: Path) -> None:
        asked.append((python, machine, *requirements))
        (folder / "optuna.whl").write_bytes(b"wheel")

    have = [name for name in INSTALLED if name not in ("optuna", "alembic", "pydantic-core")]
    packed = pack(toy_npz(tmp_path / "toy.npz"), tmp_path / "packed", "3.12", "aarch64", have, fetched)
    versions = [f"{name}=={importlib.metadata.version(name)}" for name in ("alembic", "optuna")]
    assert asked == [("3.12", "aarch64", *versions)]  # pydantic, which needs pydantic-core, is there
    assert packed["wheels"] == ["optuna.whl"]
    assert (tmp_path / "packed" / "data" / "toy.npz").exists()
    assert json.loads((tmp_path / "packed" / "packed.json").read_text()) == packed


def test_everything_but_torch_is_needed_where_nothing_is() -> None:
    found = {requirement.partition("==")[0] for requirement in needed(project_requirements(), "3.12", [])}
    assert {"optuna", "sqlalchemy", "pytest-xdist", "hypothesis", "setuptools"} <= found
    assert not found & {"torch", "torchvision", "triton"}
    assert needed(["rich; python_version < '3'"], "3.12", []) == []


@given(st.sets(st.sampled_from(("optuna", "sqlalchemy", "alembic", "mako", "markupsafe", "rich"))))
def test_what_is_there_is_never_needed(have: set[str]) -> None:
    names = {requirement.partition("==")[0] for requirement in needed(["optuna", "rich"], "3.12", have)}
    assert not names & have
    assert ("optuna" in names) != ("optuna" in have)


def test_steps_that_are_done_or_failed_are_not_repeated(places: Places) -> None:
    todo = [appending("one", places), appending("two", places, fails=True), appending("three", places)]
    places.state.mkdir()
    assert run(todo, places, seconds=1000)
    assert run(todo, places, seconds=1000)
    assert [(places.state / step.name).read_text() for step in todo] == ["x", "x", "x"]
    assert [manifest(places)["steps"][step.name]["status"] for step in todo] == ["done", "failed", "done"]
    assert manifest(places)["hardware"].keys() == {"gpu", "cuda", "torch", "python", "machine"}
    assert manifest(places)["packed"]["data"] == "toy.npz"


def test_a_call_ends_in_time_and_the_next_goes_on(places: Places) -> None:
    todo = [appending(name, places) for name in ("one", "two", "three")]
    places.state.mkdir()
    assert not run(todo, places, seconds=100, clock=ticking(12))  # a step looks at the clock three times
    assert list(manifest(places)["steps"]) == ["one", "two"]
    assert run(todo, places, seconds=100, clock=ticking(12))
    assert list(manifest(places)["steps"]) == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("continues", "whole_call", "status"), [(False, True, "failed"), (False, False, "cut"), (True, True, "cut")]
)
def test_a_step_that_is_cut_is_begun_again_unless_no_call_is_long_enough(
    continues: bool, whole_call: bool, status: str, places: Places
) -> None:
    places.logs.mkdir(parents=True)
    sleeps = Step("sleeps", ("-c", "import time; time.sleep(60)"), 1, continues=continues)
    assert gpu_run._status(sleeps, places, 0.5, whole_call=whole_call) == status


def test_what_a_step_began_ends_with_it(places: Places) -> None:
    """Processes side by side would go on training beside the next step."""
    places.logs.mkdir(parents=True)
    pid = places.state / "pid"
    sleeper = "import time; time.sleep(60)"
    begins = (
        "import pathlib, subprocess, sys, time;"
        f"began = subprocess.Popen([sys.executable, '-c', {sleeper!r}]);"
        f"pathlib.Path({str(pid)!r}).write_text(str(began.pid)); time.sleep(60)"
    )
    assert gpu_run._status(Step("begins", ("-c", begins), 1), places, 3.0, whole_call=False) == "cut"
    status = Path("/proc", pid.read_text(), "status")
    while status.exists() and "State:\tZ" not in status.read_text():  # until its new parent has taken note
        time.sleep(0.05)


def test_results_are_carried_in_files_that_are_small_enough(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_run, "MOST_BYTES", 1000)
    sizes = {
        "logs/a.txt": 600,
        "logs/b.txt": 600,
        "logs/huge.txt": 1001,
        "runs/r/run.json": 300,
        "runs/r/checkpoint.pt": 9,
    }
    for name, size in sizes.items():
        path = places.state / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    places.out.mkdir()
    volumes = pack_results(places)
    names = [zipfile.ZipFile(volume).namelist() for volume in volumes]
    assert names == [["logs/a.txt"], ["logs/b.txt", "runs/r/run.json"]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--data no.npz --out new", "--data must exist; got no.npz"),
        ("--data pyproject.toml --have no.txt --out new", "--have must exist; got no.txt"),
        ("--data pyproject.toml --out tests", "--out must not exist; got tests"),
    ],
)
def test_what_cannot_be_packed_is_told(options: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        gpu_prepare.main(options.split())
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_a_run_needs_a_packed_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        gpu_run.main(["--from", str(tmp_path)])
    assert ended.value.code == 2
    assert "must be a folder that benchmarks.gpu_prepare filled" in capsys.readouterr().err


def test_the_plan_adds_up_and_names_what_exists(places: Places) -> None:
    todo = steps(places)
    lines = plan_table(todo).splitlines()
    assert len(lines) == len(todo) + 3
    assert lines[-1] == f"| all | {sum(step.minutes for step in todo):g} | |"
    assert sum(step.minutes for step in todo) < 60
    long = next(step for step in todo if step.name == "gpu_long")
    assert long.continues
    assert long.minutes == pytest.approx(1 + 300 * 50_000 / 15_000 / 60, abs=0.1)
    for step in todo:
        recipes = [value for option, value in itertools.pairwise(step.arguments) if option == "--recipe"]
        assert set(recipes) <= set(recipe_names())


def test_the_run_needs_nothing_but_the_standard_library() -> None:
    code = "import sys, benchmarks.gpu_run; print([m for m in ('torch', 'packaging', 'cifar') if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert printed.stdout == "[]\n"


@pytest.mark.slow
def test_a_toy_run_is_prepared_and_run_by_the_printed_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    have = tmp_path / "have.txt"
    have.write_text("\n".join(f"{name}==1" for name in INSTALLED))
    data, out = toy_npz(tmp_path / "toy.npz", train=300, test=40, size=32), tmp_path / "packed"
    gpu_prepare.main(["--data", str(data), "--out", str(out), "--have", str(have)])
    assert f"python -m benchmarks.gpu_run --from {out}" in capsys.readouterr().out
    folders = [f"--{name}={tmp_path / name}" for name in ("state", "out")]
    command = ["-m", "benchmarks.gpu_run", f"--from={out}", *folders, "--device", "cpu", "--only", "gpu_fast-0"]
    assert subprocess.run([sys.executable, *command], check=False).returncode == 0
    (archive,) = (tmp_path / "out").glob("results-*.zip")
    assert {"logs/gpu_fast-0.txt", "runs/gpu_fast-0/run.json"} <= set(zipfile.ZipFile(archive).namelist())
