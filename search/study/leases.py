"""Leases: how a call of the search knows which running trials of a study have lost their driver.

A running trial names its driver by a random id, and the study holds a lease of each driver: how often it was renewed.
A thread renews it, since an epoch in the driver's own process may take many minutes. A lease has expired if its driver
ended it, or if it stood still while the one who looks renewed its own `MISSED_RENEWALS` times. Host names, process ids
and clocks decide nothing: the clocks of hosts may differ as they like, they only have to run equally fast.

Waiting a minute would be a nuisance to a user whose own search was killed a moment ago. So each driver also keeps a
lock file in the study's folder, which the kernel unlocks when the process dies. A lease whose lock file can be locked
has expired at once. Only drivers under the same kernel are told by that: locks of network folders may not reach other
hosts.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError

from search.settings import StudyError
from search.study.attributes import LEASE, WORKER
from search.study.exclusion import exclusive

RENEWAL_SECONDS = 10.0
MISSED_RENEWALS = 6  # after which a lease has expired: a minute
LOCKS = "drivers"
"""Folder of the drivers' lock files, in the study's."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # of Linux: one for all containers of a machine, until it restarts


def this_machine() -> str:
    """Names the running kernel, whose file locks reach all of its processes; elsewhere than on Linux the host."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return socket.gethostname()


class Lease:
    """A driver's lease, renewed while the block lasts.

    Args:
        study: the study whose trials the driver runs.
        folder: the study's folder.
    """

    def __init__(self, study: optuna.Study, folder: Path) -> None:
        self.study, self.locks = study, folder / LOCKS
        self.id = secrets.token_hex(8)
        self.renewals = 0
        self.seen: dict[str, tuple[object, int]] = {}  # renewals of others, with our own when they were seen first
        self.past: set[str] | None = None  # others when `undisturbed` was asked last; None if one of them lived
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self.lock = FileLock(self._lock_file(self.id))

    @property
    def driver(self) -> dict[str, Any]:
        """What a trial holds of its driver; host and process id are for people who look."""
        return {"host": socket.gethostname(), "pid": os.getpid(), "id": self.id}

    def __enter__(self) -> Self:
        self.locks.mkdir(parents=True, exist_ok=True)
        self.lock.acquire()
        with exclusive(self.study):  # whoever found itself alone has finished what it began
            self._write(self.id, self.renewals)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Ends the lease: the driver's trials are everybody's. A second time is no error."""
        if self.ending.is_set():
            return
        self.ending.set()
        self.thread.join()
        self._write(self.id, None)
        self._remove_lock(self.lock)

    @property
    def alone(self) -> bool:
        """Whether no other driver has a lease that has not expired, as far as is known."""
        return all(driver == self.id or self._expired(driver, lease) for driver, lease in self._all().items())

    def hold(self) -> dict[str, dict[str, Any]]:
        """Takes a lease again if this driver slept and others took it for gone; all that were held before that.

        To be called before the driver begins a trial, which others would take over at once otherwise.
        """
        held = self._all()
        if held[self.id]["renewals"] is None:
            self._renew()
        return held

    def undisturbed(self) -> bool:
        """Whether no other driver can have written to the study since this was asked last; to be asked within the lock.

        One that lives may write at any time. One that has ended may have written before that, so that what this
        process remembers is the whole study only if there was no other when it was asked last, and none since.
        """
        held = self.hold()
        others = held.keys() - {self.id}
        alone = all(self._expired(driver, held[driver]) for driver in others)
        known, self.past = self.past, set(others) if alone else None
        return alone and others == known

    def without_driver(self, running: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """Those of the running trials whose driver's lease has expired.

        A trial that names no driver was just asked for, or its driver was killed within the same moment; where other
        drivers live it gets the time of a lease. One whose driver has no lease is of an earlier version, which does
        not run beside this one.
        """
        trials = list(running)
        named = {name for trial in trials if (name := _driver_of(trial)) is not None}
        held = self._all() if named else {}
        expired = {name for name in named if name not in held or self._expired(name, held[name])}
        alone = any(_driver_of(trial) is None for trial in trials) and self.alone
        return [
            t
            for t in trials
            if _driver_of(t) in expired or (_driver_of(t) is None and (alone or self._is_forgotten(t)))
        ]

    def _is_forgotten(self, trial: FrozenTrial) -> bool:
        return self._stands_still(f"trial {trial.number}", None)

    def _all(self) -> dict[str, dict[str, Any]]:
        """The study's leases by their driver's id."""
        attributes = self.study.user_attrs
        return {key.removeprefix(LEASE): held for key, held in attributes.items() if key.startswith(LEASE)}

    def _expired(self, driver: str, lease: dict[str, Any]) -> bool:
        if lease["renewals"] is None:
            return True
        if driver == self.id:
            return False
        killed = lease["machine"] == this_machine() and self._is_unlocked(driver)
        if not (killed or self._stands_still(driver, lease["renewals"])):
            return False
        self._write(driver, None)  # for those who cannot see the lock, or have not watched for as long
        return True

    def _stands_still(self, name: str, renewals: int | None) -> bool:
        """Whether something was seen unchanged for the time of a lease."""
        known, since = self.seen.get(name, (None, self.renewals))
        if known != renewals:
            since = self.renewals
        self.seen[name] = (renewals, since)
        return self.renewals - since >= MISSED_RENEWALS

    def _is_unlocked(self, driver: str) -> bool:
        """Whether a driver left its lock file behind; without a file nothing is known."""
        if not self._lock_file(driver).exists():
            return False
        lock = FileLock(self._lock_file(driver), blocking=False)
        try:
            lock.acquire()
        except Timeout:
            return False
        self._remove_lock(lock)
        return True

    def _remove_lock(self, lock: FileLock) -> None:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()

    def _lock_file(self, driver: str) -> Path:
        return self.locks / f"{driver}.lock"

    def _keep(self) -> None:
        while not self.ending.wait(RENEWAL_SECONDS):
            with suppress(
                SQLAlchemyError, StorageInternalError, StudyError, OSError
            ):  # the main thread says so, if it lasts
                self._renew()

    def _renew(self) -> None:
        self._write(self.id, self.renewals + 1)
        self.renewals += 1

    def _write(self, driver: str, renewals: int | None) -> None:
        """Stores a lease; None says that it has ended."""
        self.study.set_user_attr(f"{LEASE}{driver}", {"machine": this_machine(), "renewals": renewals})


def _driver_of(trial: FrozenTrial) -> str | None:
    """Id of the trial's driver; empty in one of an earlier version, None where it names none."""
    driver = trial.user_attrs.get(WORKER)
    return str(driver.get("id", "")) if isinstance(driver, dict) else None
