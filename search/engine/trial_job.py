"""What a driver and its workers say to each other about a trial job: train one trial from one rung to another.

A worker knows no study and no storage. It is handed a plain `TrialJob`, yields an `EpochResult` after each epoch, and
is answered with a `Verdict`: train on, save and train on, save and end, or end. Its last message is a `JobEnd`. All of
them are plain data, so a worker may be this process, another one, or another machine.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from cifar.errors import UserError
from cifar.latency import Latency
from search.study.remote import Place


@dataclass(frozen=True)
class TrialJob:
    """What a worker is to train."""

    number: int
    """The trial's number in the study."""
    parameters: Mapping[str, Any]
    """The trial's Optuna parameters, which stand for the candidate."""
    attributes: Mapping[str, Any]
    """User attributes that the trial was queued with; `suggest` may read them."""
    seed: int
    """The trial's own seed."""
    start: int
    """Epochs that the study knows already; 0 for a new trial."""
    end: int
    """Epochs at which the trial is to pause, or is complete."""
    full_length: int
    """Epochs of a full trial."""
    schedule_ends: tuple[int, ...]
    """Epochs at which schedules come to their end, see `spaces.base.TrialContext`."""
    epochs_done: int
    """Epochs that training resumes after; below `start` where no checkpoint can be read, which trains them again."""
    read_from: Place | None
    """Checkpoint to resume from; None where there is nothing to read."""
    write_to: Place
    """Folder that the checkpoint goes to when the trial pauses."""
    measures_latency: bool = False
    """Whether the latency of the candidate's network is measured before the first epoch."""


@dataclass(frozen=True)
class EpochResult:
    """What an epoch of a job gave."""

    number: int
    """The trial's number."""
    epoch: int
    """Epochs done, from 1."""
    value: float
    """The objective."""
    seconds: float
    """Wall-clock time of the epoch."""
    details: Mapping[str, float]
    """More figures of the epoch, such as train_loss."""
    note: str = ""
    """What people should know before this epoch's value, such as that a checkpoint was damaged."""
    latency: Latency | None = None
    """The latency of the network, in the first result of a job that measures it."""
    right: str | None = None
    """Which validation images were right, as `search.study.right_images` packs them; None where nobody tells."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written, and the job goes on."""

    number: int
    """The trial's number."""
    epoch: int
    """Epochs in the checkpoint."""


class Verdict(Enum):
    """The driver's answer to an epoch's result."""

    TRAIN_ON = auto()
    """Train the next epoch."""
    CHECKPOINT = auto()
    """Write a checkpoint, where the training has any; say so with `Saved`, whose answer says what is next."""
    SAVE = auto()
    """Write the checkpoint and end the job."""
    STOP = auto()
    """End the job."""


class JobEndKind(Enum):
    """Why a worker ended a job."""

    SAVED = auto()
    """The checkpoint is written, as the verdict said."""
    STOPPED = auto()
    """The verdict said so."""
    TRAINED = auto()
    """The space's `train` yielded its last epoch."""
    DIVERGED = auto()
    """The loss became NaN or infinite."""
    RAISED = auto()
    """The space raised an exception."""
    OUT_OF_MEMORY = auto()
    """There was not enough memory, on the device or the machine."""
    NO_ROOM = auto()
    """There was not enough room on the disk."""
    STORE_LOST = auto()
    """The store of the checkpoints could not be used."""
    TIMED_OUT = auto()
    """No epoch ended within the time that the user gives one; the worker was killed."""
    WORKER_LOST = auto()
    """The worker itself failed: it raised before the trial could begin, exited or was killed."""


PUT_BACK = (JobEndKind.OUT_OF_MEMORY, JobEndKind.NO_ROOM, JobEndKind.STORE_LOST, JobEndKind.WORKER_LOST)
"""Ends that are not the trial's own fault: it is tried once more."""


@dataclass(frozen=True)
class JobEnd:
    """A worker's last message of a job."""

    number: int
    """The trial's number."""
    kind: JobEndKind
    """Why the job ended."""
    reason: str = ""
    """Reason in a few words; empty where the kind says it all."""
    error: UserError | None = None
    """What the user has to mend, if that ended the job."""


Message = EpochResult | Saved | JobEnd
JobMessages = Generator[Message, Verdict, None]
