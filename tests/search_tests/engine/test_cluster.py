"""How many trials a cluster has room for, and what is said where there is no Ray, or another one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

from search.cli import run_command
from search.engine.ray_tune.cluster import ClusterError, trials_at_once, trials_on
from search.run import main as run_main
from search.settings import SearchSettings
from tests.search_tests.conftest import Command
from tests.search_tests.logged_space import logged_space

nodes = st.lists(st.fixed_dictionaries({"CPU": st.integers(0, 64), "GPU": st.integers(0, 8)}), max_size=5)


@pytest.mark.parametrize(
    ("node", "cpus", "gpus", "trials"),
    [
        ({"CPU": 8.0}, 2, 0, 4),
        ({"CPU": 8.0}, 3, 0, 2),
        ({"CPU": 8.0}, 0.1, 0, 80),
        ({"CPU": 8.0}, 1, 1, 0),
        ({"CPU": 8.0, "GPU": 2.0}, 1, 1, 2),
        ({"CPU": 8.0, "GPU": 2.0}, 2, 0.25, 4),
        ({"CPU": 8.0, "GPU": 2.0}, 1, 0.4, 4),
        ({"CPU": 8.0, "GPU": 5.0}, 1, 2, 2),
        ({"GPU": 5.0}, 1, 1, 0),
    ],
)
def test_trials_that_fit_on_a_node(node: dict[str, float], cpus: float, gpus: float, trials: int) -> None:
    assert trials_on([node], cpus, gpus) == trials


@given(nodes=nodes, cpus=st.integers(1, 8), share=st.integers(1, 10))
def test_no_resource_is_promised_twice(nodes: list[dict[str, int]], cpus: int, share: int) -> None:
    fitting = trials_on(nodes, cpus, 1 / share)
    assert fitting * cpus <= sum(node["CPU"] for node in nodes)
    assert fitting <= share * sum(node["GPU"] for node in nodes)
    assert fitting == sum(min(node["CPU"] // cpus, node["GPU"] * share) for node in nodes)


NEEDS = "error: --engine ray needs Ray Tune 2.60 or newer; got {got}. Install it: pip install 'ray[tune]>=2.60'.\n"


def test_a_missing_ray_is_one_line(workplace: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    package = workplace / "elsewhere" / "ray"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package.parent), os.environ.get("PYTHONPATH", "")]))
    result = command("run", "--space", logged_space(workplace), "--engine", "ray")
    assert result.returncode == 2
    assert result.stderr == NEEDS.format(got="No module named 'ray.tune'")


@pytest.mark.slow
def test_a_local_search_imports_no_ray(workplace: Path) -> None:
    line = ["--space", logged_space(workplace), "--trials", "2", "--workers", "2", "--quiet"]
    code = f"import sys; from search.run import main; main({line}); print([m for m in sys.modules if m[:4] == 'ray.'])"
    done = subprocess.run([sys.executable, "-c", f"if __name__ == '__main__': {code}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("version", ["2.9.3", "1.13.0"])
def test_an_old_ray_is_one_line(
    version: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = ModuleType("ray")
    old.__version__ = version  # type: ignore[attr-defined]
    for name, module in {"ray": old, "ray.tune": ModuleType("ray.tune")}.items():
        monkeypatch.setitem(sys.modules, name, module)
    assert run_command(run_main, ["--space", logged_space(workplace), "--engine", "ray"]) == 2
    assert capsys.readouterr().err == NEEDS.format(got=version)


@pytest.mark.parametrize(("address", "reason"), [("127.0.0.1:1", "Connection refused"), ("head", "invalid literal")])
def test_an_address_without_a_cluster_is_told(address: str, reason: str, workplace: Path) -> None:
    ray.shutdown()  # which another test of this process may have started
    settings = SearchSettings(space=logged_space(workplace), engine="ray", address=address)
    with pytest.raises(ClusterError, match=f"--address must be that of a cluster .*; got {address} .*{reason}"):
        trials_at_once(settings)


def test_workers_are_not_for_ray(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(run_main, ["--engine", "ray", "--workers", "2"]) == 2
    assert "got 2. Give --max-concurrent instead." in capsys.readouterr().err
