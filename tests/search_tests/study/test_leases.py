"""Which drivers count as gone: those that ended, whose lock the kernel released, or whose lease stands still."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState

from search.settings import SearchSettings
from search.study.attributes import WORKER
from search.study.leases import LOCKS, MISSED_RENEWALS, Lease
from search.study.recovery import KILLED, recover_stale_trials
from search.study.storage import open_storage
from tests.search_tests.study.storage_process import hold_a_trial

FOLDER = Path("studies/shared")


@pytest.fixture
def settings() -> SearchSettings:
    return SearchSettings(study="shared")


@pytest.fixture
def study(settings: SearchSettings) -> optuna.Study:
    return optuna.create_study(study_name="shared", storage=open_storage(settings))


@pytest.fixture
def mine(study: optuna.Study, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lease]:
    """A lease that is renewed by the tests alone."""
    monkeypatch.setattr("search.study.leases.RENEWAL_SECONDS", 1e6)
    with Lease(study, FOLDER) as lease:
        yield lease


def running_trial(study: optuna.Study, driver: object) -> FrozenTrial:
    trial = study.ask()
    if driver is not None:
        trial.set_user_attr(WORKER, driver)
    return study.get_trials()[trial.number]


def test_trials_of_a_driver_that_lives_stay_and_of_one_that_ended_go(study: optuna.Study, mine: Lease) -> None:
    with Lease(study, FOLDER) as other:
        trials = [running_trial(study, lease.driver) for lease in (mine, other)]
        assert not mine.alone
        assert mine.without_driver(trials) == []
    assert mine.without_driver(trials) == [trials[1]]
    assert mine.alone
    mine.end()
    assert mine.without_driver(trials) == trials
    assert not list((FOLDER / LOCKS).iterdir())


def test_another_driver_disturbs_once_more_after_it_has_ended(study: optuna.Study, mine: Lease) -> None:
    assert not mine.undisturbed()  # nothing was read yet
    assert mine.undisturbed()
    with Lease(study, FOLDER):
        assert not mine.undisturbed()
        assert not mine.undisturbed()
    assert not mine.undisturbed()  # it may have written between the last answer and its end
    assert mine.undisturbed()
    with Lease(study, FOLDER):
        pass
    assert not mine.undisturbed()  # it came and went
    assert mine.undisturbed()


def test_a_driver_that_was_taken_for_gone_has_a_lease_again_before_it_begins_a_trial(
    study: optuna.Study, mine: Lease
) -> None:
    with Lease(study, FOLDER) as other:
        assert not other.undisturbed()
        mine._write(other.id, None)  # as where it slept for longer than a lease
        assert mine.alone
        assert not other.undisturbed()
        assert not mine.alone


def test_a_trial_of_a_version_without_leases_has_lost_its_driver(study: optuna.Study, mine: Lease) -> None:
    trial = running_trial(study, {"host": "here", "pid": os.getpid()})
    assert mine.without_driver([trial]) == [trial]


def test_a_trial_that_names_no_driver_gets_the_time_of_a_lease(study: optuna.Study, mine: Lease) -> None:
    trial = running_trial(study, None)
    with Lease(study, FOLDER) as other:  # which may have just asked for it
        assert mine.without_driver([trial]) == []
        mine.renewals += MISSED_RENEWALS - 1
        other._write(other.id, 1)
        assert mine.without_driver([trial]) == []
        mine.renewals += 1
        assert mine.without_driver([trial]) == [trial]


def test_a_trial_that_names_no_driver_is_gone_where_there_is_no_other(study: optuna.Study, mine: Lease) -> None:
    trial = running_trial(study, None)
    assert mine.without_driver([trial]) == [trial]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), max_size=20))
def test_a_lease_expires_when_it_stands_still_for_so_many_of_ones_own_renewals(looks: list[tuple[int, int]]) -> None:
    watching = Lease(optuna.create_study(), FOLDER)
    theirs = still = 0
    watching._stands_still("other", theirs)
    for own, renewed in looks:
        watching.renewals += own
        theirs += renewed
        still = 0 if renewed else still + own
        assert watching._stands_still("other", theirs) == (still >= MISSED_RENEWALS)


def test_a_lease_is_renewed_while_the_driver_does_something_else(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.study.leases.RENEWAL_SECONDS", 0.01)
    with Lease(study, FOLDER) as lease:
        while lease.renewals < 3:  # the test's timeout ends this
            lease.thread.join(0.01)
        held = study.user_attrs[f"lease {lease.id}"]
        assert held["renewals"] >= 3
    assert study.user_attrs[f"lease {lease.id}"]["renewals"] is None


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("here", [True, False], ids=["this machine", "another"])
def test_the_trials_of_a_killed_driver_are_recovered(
    here: bool, study: optuna.Study, settings: SearchSettings, mine: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold_a_trial, args=(settings, ready))
    process.start()
    ready.wait()
    if not here:
        monkeypatch.setattr("search.study.leases.this_machine", lambda: "another")
    again = optuna.load_study(study_name="shared", storage=open_storage(settings))
    assert recover_stale_trials(again, mine, close_paused=True) == 0
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    if not here:  # its lock tells nothing: only the lease does
        assert recover_stale_trials(again, mine, close_paused=True) == 0
        mine.renewals += MISSED_RENEWALS
    assert recover_stale_trials(again, mine, close_paused=True) == 1
    killed, queued = again.trials
    assert (killed.state, killed.user_attrs["reason"]) == (TrialState.FAIL, KILLED)
    assert (queued.state, queued.system_attrs["fixed_params"]) == (TrialState.WAITING, killed.params)
    assert recover_stale_trials(again, mine, close_paused=True) == 0
