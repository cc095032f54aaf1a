"""When the jobs of a search ran: `jobs.csv`, a line as each job of a trial ends, and the lanes that they filled.

The study itself does not tell: a trial that pauses is open from its first job to its last, waiting included.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from search.engine.events import Event, TrialEnded, TrialStarted

JOBS = "jobs.csv"
"""The file's name in a study's folder."""
COLUMNS = ("trial", "began", "ended", "epoch", "outcome")


@dataclass(frozen=True)
class Job:
    """The training of a trial without interruption."""

    trial: int
    """Number of the trial."""
    began: float
    """Seconds since 1970."""
    ended: float
    """Seconds since 1970."""
    epoch: int
    """Epochs of the trial when the job ended."""
    outcome: str
    """How it ended: the value of a `TrialOutcome`."""


class JobLog:
    """Appends the jobs of a search to a file as they end.

    Args:
        path: the file; several searches may write it, a line at a time.
        clock: tells the seconds since 1970.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path, self.clock = path, clock
        self.began: dict[int, float] = {}  # of open jobs, by the trial's number

    def event(self, event: Event) -> None:
        """Takes the beginning of a job, or writes its end."""
        if isinstance(event, TrialStarted):
            self.began[event.number] = self.clock()
        elif isinstance(event, TrialEnded) and event.number in self.began:
            began = self.began.pop(event.number)
            self._append(Job(event.number, began, self.clock(), event.epoch, event.outcome.value))

    def _append(self, job: Job) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            head = "" if file.tell() else ",".join(COLUMNS) + "\n"
            file.write(f"{head}{job.trial},{job.began:.2f},{job.ended:.2f},{job.epoch},{job.outcome}\n")


def read_jobs(path: Path) -> list[Job]:
    """The jobs in the order in which they began; none without a file. A line that was cut off is left out."""
    if not path.exists():
        return []
    found = [_job(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return sorted((job for job in found if job is not None), key=lambda job: (job.began, job.trial))


def _job(line: str) -> Job | None:
    cells = line.split(",")
    try:
        trial, began, ended, epoch, outcome = cells
        return Job(int(trial), float(began), float(ended), int(epoch), outcome)
    except ValueError:  # the head, or a line cut off
        return None


def lanes(jobs: Iterable[Job]) -> list[int]:
    """A lane for each job, in the order of their beginnings: the first that is free, so as many as ran side by side."""
    free_from: list[float] = []
    found = []
    for job in jobs:
        lane = next((index for index, end in enumerate(free_from) if end <= job.began), len(free_from))
        free_from[lane : lane + 1] = [job.ended]
        found.append(lane)
    return found
