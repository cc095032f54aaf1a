"""Toy data, a folder to work in, and small searches on real parts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import RDBStorage
from sqlalchemy.engine import make_url

from cifar.data.toy import toy_npz
from cifar.runtime.cache_folder import cache_folder
from cifar.runtime.device import Device
from cifar.runtime.threads import one_thread
from search.planning import speed
from search.planning.speed import Speed, measure_speed
from search.session import run_search
from search.settings import SearchSettings
from search.study.storage import open_storage
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


EMPTY_DATABASE = 4096  # bytes of an SQLite file in which nothing but its mode is set: one page


@pytest.fixture(scope="session")
def kernels() -> Path:
    """Where the user's own are: compiled once a machine, and named after all that they depend on."""
    folder = cache_folder() / "kernels"
    folder.mkdir(0o700, parents=True, exist_ok=True)
    return folder


@contextmanager
def at_work(folder: Path, kernels: Path) -> Iterator[None]:
    """A working directory, beside it an empty cache; one thread, since the networks are tiny."""
    cache = folder.with_name(f"{folder.name}-cache")
    (cache / "cifar-budget-search").mkdir(parents=True)
    (cache / "cifar-budget-search/kernels").symlink_to(kernels)
    with pytest.MonkeyPatch.context() as patch, one_thread():
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(cache))
        patch.delenv("CIFAR_DATA", raising=False)
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, kernels: Path) -> Iterator[Path]:
    """An empty folder to work in."""
    with at_work(tmp_path, kernels):
        yield tmp_path


def at_known_speed(device: Device) -> Speed:
    """The same for every machine, and known at once."""
    return Speed(((1_000_000, 1e-4), (10_000_000, 1e-3)))


@pytest.fixture(autouse=True)
def known_speed(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches on images begin at once, and their plans do not depend on the machine.

    The working folder comes first, so that what a test changes by `monkeypatch` is put back before it is left.
    """
    monkeypatch.setattr(speed, "measure_speed", at_known_speed)


@pytest.fixture
def measured_speed(known_speed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches on images measure this machine first, by small networks only."""
    monkeypatch.setattr(speed, "measure_speed", measure_speed)
    monkeypatch.setattr(speed, "PROBES", speed.PROBES[:2])


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the tables that Optuna makes, and no study in them."""
    path = tmp_path_factory.mktemp("tables") / "study.db"
    open_storage(SearchSettings(storage=f"sqlite:///{path}"))
    return path


@pytest.fixture(autouse=True)
def ready_tables(workplace: Path, tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New databases of this process have their tables already, which Optuna need not look over again.

    It takes longer for that than most searches here do for the rest. Tests of storage have it done, see there.
    """
    ready: set[Path] = set()

    def with_tables(url: str, **options: Any) -> RDBStorage:
        path = Path(make_url(url).database or "").resolve()
        if path.stat().st_size <= EMPTY_DATABASE:
            shutil.copyfile(tables, path)
            ready.add(path)
        known = path in ready
        return RDBStorage(url, skip_table_creation=known, skip_compatibility_check=known, **options)

    monkeypatch.setattr("search.study.storage.RDBStorage", with_tables)


def toy_images(folder: Path) -> Path:
    """Toy images of 4 classes, 16 x 16 pixels."""
    return toy_npz(folder / "toy.npz", train=400, test=100, size=16)


def toy_settings(data: Path, **changes: object) -> SearchSettings:
    """Settings of a search of a second on toy images."""
    chosen: dict[str, object] = {
        "space": "resnet_budget30k",
        "data": str(data),
        "study": "toy",
        "max_trials": 4,
        "max_epochs": 3,
        "val_size": 100,
        "mac_budget": 3_000_000,
        "device": "cpu",
    }
    return SearchSettings(**{**chosen, **changes})  # type: ignore[arg-type]


@pytest.fixture
def toy(workplace: Path) -> Path:
    """The toy images in the working folder."""
    return toy_images(workplace)


@pytest.fixture
def curves(workplace: Path) -> str:
    """A space of recorded curves: nothing is trained."""
    path = workplace / "curves.py"
    path.write_text(CURVES_SPACE)
    return str(path)


@pytest.fixture
def toy_search(toy: Path) -> Callable[..., SearchSettings]:
    """Settings of searches on them."""
    return partial(toy_settings, toy)


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory, kernels: Path, tables: Path) -> Path:
    """A folder with the toy images and a study of one trial on them."""
    folder = tmp_path_factory.mktemp("searched")
    with at_work(folder, kernels), pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "measure_speed", at_known_speed)
        run_search(toy_settings(toy_images(folder), max_trials=1))
    return folder


@pytest.fixture
def toy_study(searched: Path, workplace: Path) -> SearchSettings:
    """The settings of that study, which is in the working folder as if it had been searched there."""
    shutil.copytree(searched, workplace, dirs_exist_ok=True)
    return toy_settings(searched / "toy.npz", max_trials=1)


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
    pytest.importorskip("psycopg", reason="no driver for PostgreSQL: pip install 'psycopg[binary]'")
    if not PROGRAMS:
        pytest.skip("no PostgreSQL to start: install the package postgresql")
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))  # short enough for a socket, and postgres may enter
    if USER:
        shutil.chown(folder, "postgres")
    running = Server(folder)
    yield running
    running.stop()
    shutil.rmtree(folder)
