"""Makefile, pre-commit, .ci/run and the CI service run the same targets, on the Pythons that the package names."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text()


def project() -> dict[str, Any]:
    return tomllib.loads(read("pyproject.toml"))


def targets() -> dict[str, list[str]]:
    """Prerequisites of each target of the Makefile."""
    return {name: needs.split() for name, needs in re.findall(r"^(\w+):(.*)$", read("Makefile"), re.MULTILINE)}


def test_pre_commit_runs_what_make_check_runs() -> None:
    assert re.findall(r"entry: (.+)", read(".pre-commit-config.yaml")) == [
        f"make {name}" for name in targets()["check"]
    ]


def test_the_script_runs_targets_of_the_makefile() -> None:
    called = re.findall(r"^ +make (\w+)$", read(".ci/run"), re.MULTILINE)
    assert called == ["test", "check", "coverage"]
    assert set(called) <= targets().keys()


def test_the_script_refuses_unknown_jobs() -> None:
    result = subprocess.run([ROOT / ".ci/run", "highest"], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (2, "a job is check or lowest; got highest\n")


def test_the_service_runs_the_jobs_of_the_script() -> None:
    assert re.findall(r"run: (.+)", read(".github/workflows/ci.yml")) == [".ci/run check", ".ci/run lowest"]


def test_one_list_of_pythons() -> None:
    described, service = project(), read(".github/workflows/ci.yml")
    named = re.findall(r"Python :: (3\.\d+)", " ".join(described["project"]["classifiers"]))
    matrix, lowest = re.findall(r"python(?:-version)?: (\[.+\]|\"3\.\d+\")", service)
    assert re.findall(r"3\.\d+", matrix) == named
    assert lowest == f'"{named[0]}"'
    assert described["project"]["requires-python"] == f">={named[0]}"
    assert described["tool"]["mypy"]["python_version"] == named[0]
    assert described["tool"]["ruff"]["target-version"] == f"py{named[0].replace('.', '')}"


def test_every_dependency_has_a_lowest_version() -> None:
    described = project()["project"]
    extras = [needed for extra in described["optional-dependencies"].values() for needed in extra]
    for needed in (*described["dependencies"], *extras):
        assert ">=" in needed or needed.startswith(f"{described['name']}["), needed


def test_what_commands_write_is_not_tracked(tmp_path: Path) -> None:
    written = ["README.md", "trials.csv", "report.md", "study.db", "runs/final/weights.pt", ".owner"]
    ignored = [f"studies/resnet_budget5m/{name}" for name in written]
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text(read(".gitignore"))
    line = ["git", "check-ignore", *ignored, "studies/reference/README.md"]
    found = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert found.stdout.split() == ignored
