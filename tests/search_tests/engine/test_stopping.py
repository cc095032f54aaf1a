"""Ctrl-C and SIGTERM: the first lets each epoch end and saves it, a second ends at once; no worker stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from optuna.trial import TrialState

from search.cli import run_command
from search.run import main as run_main
from search.session import run_search
from search.settings import SearchSettings
from search.signals import Terminated, handled, raised
from search.study.attributes import CONTINUES, PAUSED, REASON, RETRY_OF
from search.study.study import require_study
from search.study.trials import counted, reached
from tests.search_tests.engine.test_worker_losses import is_alive
from tests.search_tests.logged_space import logged_space, trained

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")

worker_processes = pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
either_signal = pytest.mark.parametrize(
    "sent", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)], ids=["SIGTERM", "SIGINT"]
)

SEND = "if epoch == 3 and not Path('sent').exists(): Path('sent').touch(); os.kill({driver}, {signal})"
HANG = (
    "Path(f'{os.getpid()}.tmp').write_text(''); os.rename(f'{os.getpid()}.tmp', f'{os.getpid()}.pid'); "
    "__import__('time').sleep(1e6 if epoch > 2 else 0)"
)


@pytest.fixture
def heeded() -> Iterator[None]:
    """SIGINT is heeded, which processes of a suite in the background ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextmanager
def begun(space: str, folder: Path, workers: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A search in a process of its own, which heeds SIGINT in a suite that runs in the background too."""
    line = [sys.executable, "-m", "search.run", "--space", space, "--workers", str(workers), *options]
    line += ["--trial-timeout", "1h"]  # which takes a process of its own for one worker, too
    with subprocess.Popen(
        line,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as driver:
        try:
            yield driver
        finally:
            driver.kill()


def assert_nothing_is_lost(space: str, folder: Path, output: str, errors: str) -> None:
    """What was said, what became of the trials, and that the next call trains no epoch twice."""
    assert "nothing is lost, and the same command continues" in output
    assert errors.splitlines() == [
        "stopping once each running epoch has ended; a second Ctrl-C or SIGTERM stops at once",
        "stopped",
    ]
    study = require_study(SearchSettings(space=space))
    assert {t.state for t in study.trials} == {TrialState.PRUNED}
    assert all(t.user_attrs[PAUSED] == reached(t) for t in study.trials)
    assert 3 in [reached(t) for t in study.trials]
    assert trained(folder).total() == sum(reached(t) for t in study.trials)
    study = run_search(SearchSettings(space=space, epoch_budget=20))
    assert any(CONTINUES in t.user_attrs for t in study.trials)
    assert set(trained(folder).values()) == {1}


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_the_epoch_end_and_nothing_is_trained_twice(
    sent: signal.Signals, workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    space = logged_space(workplace, before=SEND.format(driver="os.getpid()", signal=int(sent)), epochs=320)
    assert run_command(run_main, ["--space", space, "--trials", "2"]) == 128 + sent  # the first rung is at 10
    assert_nothing_is_lost(space, workplace, *capfd.readouterr())


@worker_processes
@either_signal
def test_the_first_signal_lets_the_epochs_of_workers_end(sent: signal.Signals, workers: int, workplace: Path) -> None:
    space = logged_space(workplace, before=SEND.format(driver="os.getppid()", signal=int(sent)), epochs=320)
    with begun(space, workplace, workers, "--trials", "2") as driver:
        told = driver.communicate()
    assert driver.returncode == 128 + sent, told
    assert_nothing_is_lost(space, workplace, *told)


@pytest.mark.slow
@either_signal
def test_a_second_signal_ends_at_once_and_no_worker_stays(sent: signal.Signals, workplace: Path) -> None:
    space = logged_space(workplace, before=HANG, epochs=320)
    with begun(space, workplace, 2, "--trials", "2") as driver:
        assert driver.stderr is not None
        while trained(workplace).total() < 4 and driver.poll() is None:
            time.sleep(0.05)
        driver.send_signal(sent)
        driver.stderr.readline()  # it has taken the first
        driver.send_signal(sent)
        driver.wait()
    assert driver.returncode == 128 + sent
    workers = [int(path.stem) for path in workplace.glob("*.pid")]
    assert len(workers) == 2
    assert not any(is_alive(worker) for worker in workers)
    study = require_study(SearchSettings(space=space))
    assert not study.get_trials(states=(TrialState.RUNNING,))
    cut = study.get_trials(states=(TrialState.FAIL,))
    assert [t.user_attrs[REASON] for t in cut] == ["interrupted"] * 2
    assert {t.user_attrs[RETRY_OF] for t in study.get_trials(states=(TrialState.WAITING,))} == {t.number for t in cut}


@worker_processes
def test_workers_end_in_mid_epoch_when_their_driver_is_killed(workers: int, workplace: Path) -> None:
    space = logged_space(workplace, before=HANG, epochs=320)
    with begun(space, workplace, workers, "--trials", str(workers)) as driver:
        while trained(workplace).total() < 2 * workers and driver.poll() is None:
            time.sleep(0.05)
        driver.kill()
    found = [int(path.stem) for path in workplace.glob("*.pid")]
    assert len(found) == workers
    while any(map(is_alive, found)):  # the test's timeout ends the wait for one that never goes
        time.sleep(0.1)


def test_a_search_that_cannot_pause_is_put_back_at_the_first_signal(workplace: Path) -> None:
    before = "if epoch == 3 and not Path('sent').exists(): Path('sent').touch(); signal.raise_signal(signal.SIGTERM)"
    settings = SearchSettings(space=logged_space(workplace, before=before), max_trials=3, pruner="none")
    with pytest.raises(Terminated):
        run_search(settings)
    study = require_study(settings)
    assert [t.state for t in study.trials] == [TrialState.FAIL, TrialState.WAITING]
    assert counted(run_search(settings).trials) == 3


def test_signals_are_as_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Terminated), raised():
        signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with raised():
            within = signal.getsignal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)  # which raises nothing
        assert within == signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_threads_take_no_signals() -> None:
    received: list[KeyboardInterrupt] = []

    def body() -> None:
        with handled(received.append):
            assert not received

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
