"""The page of a study while it is searched: written again every minute, so that a browser left open shows progress."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import optuna

from search.engine.events import Event
from search.reporting.studies.job_log import JOBS, JobLog
from search.reporting.study_page.page import write_study_page

INTERVAL = 60.0
"""Seconds between two writings, at least."""
SHARE = 0.01
"""Most of a search's time that writing the page may take."""


class LivePage:
    """Records when jobs run, and writes the page now and then.

    Args:
        study: the study that is searched.
        folder: the study's folder.
        clock: tells the time in seconds.
    """

    def __init__(self, study: optuna.Study, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.study, self.folder, self.clock = study, folder, clock
        self.jobs = JobLog(folder / JOBS)
        self.due = clock() + INTERVAL

    def event(self, event: Event) -> None:
        """Takes what happened; writes the page if it is time. A full disk ends no search: the study tells of it."""
        with suppress(OSError):
            self.jobs.event(event)
            if self.clock() >= self.due:
                self._write()

    def _write(self) -> None:
        began = self.clock()
        self.due = began + INTERVAL  # also if the disk is full
        write_study_page(self.study, self.folder, live=True)
        self.due = self.clock() + max(INTERVAL, (self.clock() - began) / SHARE)

    def finish(self) -> Path:
        """Writes the page as it stays."""
        return write_study_page(self.study, self.folder)
