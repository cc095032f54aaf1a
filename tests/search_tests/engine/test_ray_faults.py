"""Searches on a Ray cluster whose worker or driver is killed, or whose database is away for a while."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState

from search.settings import SearchSettings
from search.study.study import require_study, stored_plan
from search.study.trials import counted
from tests.search_tests.logged_space import logged_space, trained
from tests.search_tests.postgres import Server

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]

OUTAGE_SECONDS = 20.0
SLOWLY = "__import__('time').sleep(0.05)"
ONCE = "if epoch == 3 and not Path('lost').exists(): Path('lost').touch(); os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture
def address() -> Iterator[str]:
    """Address of a cluster of two nodes, each with room for one trial."""
    from ray.cluster_utils import Cluster

    settings = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=settings)
    try:
        cluster.add_node(num_cpus=1)
        yield cluster.address
    finally:
        cluster.shutdown()


def begin(space: str, address: str, *options: str) -> subprocess.Popen[str]:
    """The command, on the cluster."""
    line = ["--space", space, "--quiet", "--engine", "ray", "--address", address, *options]
    return subprocess.Popen([sys.executable, "-m", "search.run", *line], stderr=subprocess.PIPE, text=True)


def wait_for_epochs(folder: Path, epochs: int, driver: subprocess.Popen[str]) -> None:
    """Until so many epochs were trained; the test's timeout ends what hangs."""
    while trained(folder).total() < epochs and driver.poll() is None:
        time.sleep(0.05)


def test_a_worker_that_is_killed_costs_no_trial(address: str, workplace: Path) -> None:
    space = logged_space(workplace, before=ONCE)
    with begin(space, address, "--trials", "6") as driver:
        _, told = driver.communicate()
    assert (driver.returncode, told) == (0, "")
    assert (workplace / "lost").exists()
    study = require_study(SearchSettings(space=space))
    assert counted(study.trials) == 6
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING, TrialState.FAIL))
    assert set(trained(workplace).values()) == {1}  # the epoch in which it was killed too, by another worker


def test_the_command_goes_on_where_its_driver_was_killed(address: str, workplace: Path) -> None:
    space = logged_space(workplace, before=SLOWLY, epochs=64)
    with begin(space, address, "--trials", "4") as driver:
        wait_for_epochs(workplace, 20, driver)
        driver.kill()
    assert len(require_study(SearchSettings(space=space)).get_trials(states=(TrialState.RUNNING,))) > 0
    with begin(space, address, "--trials", "4") as driver:
        _, told = driver.communicate()
    assert (driver.returncode, told) == (0, "")
    study = require_study(SearchSettings(space=space))
    assert counted(study.trials) == 4
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))
    again = sorted((seed, epoch) for (seed, epoch), times in trained(workplace).items() if times > 1)
    seeds = {seed for seed, _ in again}
    assert len(seeds) <= 2  # as many as were cut off
    first = {min(epoch for other, epoch in again if other == seed) for seed in seeds}
    assert {epoch - 1 for epoch in first} <= set(stored_plan(study).rungs)  # from their last epoch saved
    assert set(trained(workplace).values()) <= {1, 2}


@pytest.mark.postgres
def test_a_database_that_is_away_costs_no_trial(address: str, server: Server, workplace: Path) -> None:
    space = logged_space(workplace, before=SLOWLY, epochs=64)
    url = server.empty_database("away")
    with begin(space, address, "--trials", "4", "--storage", url) as driver:
        wait_for_epochs(workplace, 20, driver)
        server.stop()
        time.sleep(OUTAGE_SECONDS)
        server.start()
        _, told = driver.communicate()
    assert (driver.returncode, told) == (0, "")
    study = require_study(SearchSettings(space=space, storage=url))
    assert counted(study.trials) == 4
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING, TrialState.FAIL))
    assert set(trained(workplace).values()) == {1}
