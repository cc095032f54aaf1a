"""Toy data, a folder to work in, and small searches on real parts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cifar.data.toy import toy_npz
from cifar.runtime.threads import one_thread
from search.settings import SearchSettings
from tests.browser import CHROMIUM, Browser
from tests.search_tests.postgres import PROGRAMS, USER, Server

CURVES_SPACE = """
import numpy as np
from dataclasses import asdict, dataclass
from spaces.base import EpochReport, OwnCandidate, SearchSpace

LOSSES = np.exp(-np.outer(np.linspace(0.02, 0.5, 200), np.arange(1, 10))) + np.linspace(0, 0.4, 200)[:, None]

@dataclass(frozen=True)
class Row(OwnCandidate):
    index: int
    def to_dict(self):
        return asdict(self)

class Curves(SearchSpace):
    direction = "minimize"
    uses_images = False
    max_epochs = 9
    def suggest(self, trial):
        return Row(trial.suggest_int("row", 0, 199))
    def train(self, candidate, context):
        for epoch in range(1, context.fidelity + 1):
            yield EpochReport(epoch, float(LOSSES[candidate.index, epoch - 1]))

space = Curves()
"""


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is compiled, once for all tests."""
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(autouse=True)
def workplace(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, kernels: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """An empty folder as working directory, and another as cache; one thread, since the networks are tiny."""
    monkeypatch.chdir(tmp_path)
    cache = tmp_path_factory.mktemp("cache")
    (cache / "cifar-budget-search").mkdir()
    (cache / "cifar-budget-search/kernels").symlink_to(kernels)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.delenv("CIFAR_DATA", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with one_thread():
        yield tmp_path


@pytest.fixture
def toy(workplace: Path) -> Path:
    """Toy images of 4 classes, 16 x 16 pixels."""
    return toy_npz(workplace / "toy.npz", train=400, test=100, size=16)


@pytest.fixture
def curves(workplace: Path) -> str:
    """A space of recorded curves: nothing is trained."""
    path = workplace / "curves.py"
    path.write_text(CURVES_SPACE)
    return str(path)


@pytest.fixture
def toy_search(toy: Path) -> Callable[..., SearchSettings]:
    """Settings of a search of a few seconds on toy images."""

    def settings(**changes: object) -> SearchSettings:
        chosen: dict[str, object] = {
            "space": "resnet_budget30k",
            "data": str(toy),
            "study": "toy",
            "max_trials": 4,
            "max_epochs": 3,
            "val_size": 100,
            "mac_budget": 3_000_000,
            "device": "cpu",
        }
        return SearchSettings(**{**chosen, **changes})  # type: ignore[arg-type]

    return settings


@pytest.fixture
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    """A real browser; without one the test is skipped."""
    if CHROMIUM is None:
        pytest.skip("no Chromium to open the page with: install the package chromium")
    return Browser(CHROMIUM, tmp_path_factory.mktemp("profile"))


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(workplace: Path) -> Command:
    """Runs `python -m search.<name> <arguments>` in the working folder."""

    def run(name: str, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", f"search.{name}", *arguments]
        return subprocess.run(line, capture_output=True, text=True, cwd=workplace, env=os.environ, **options)  # type: ignore[call-overload, no-any-return]

    return run


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A running PostgreSQL; without one the test is skipped."""
    pytest.importorskip("psycopg")
    if not PROGRAMS:
        pytest.skip("no PostgreSQL to start: install the package postgresql")
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))  # short enough for a socket, and postgres may enter
    if USER:
        shutil.chown(folder, "postgres")
    running = Server(folder)
    yield running
    running.stop()
    shutil.rmtree(folder)
