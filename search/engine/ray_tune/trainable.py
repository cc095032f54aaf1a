"""The worker's side of Ray: an actor that trains one job after another, an epoch a step."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from ray import tune
from ray.tune.result import DONE

from cifar.data.prepare import prepared_here
from search.engine.job_runner import WorkerSetup
from search.engine.trial_job import JobEnd, Message, TrialJob, Verdict
from search.engine.workers import InlineWorker, could_not_begin
from search.settings import StudyError
from search.study.checkpoints import belongs_to
from search.study.remote import Place, RemotePath

SETUP, JOB, MESSAGE = "setup", "job", "message"  # keys of Tune's configurations and results


@dataclass(frozen=True)
class ActorSetup:
    """What an actor needs before its first job; plain data."""

    worker: WorkerSetup
    """What every worker needs."""
    folder: Path
    """The driver's working folder: relative paths are in it, and checkpoints too unless they are elsewhere."""
    threads: int
    """CPU threads that a trial may use."""
    checkpoints: Place | None = None
    """Folder of the study's checkpoints; None where the study settled on none."""
    mark: str | None = None
    """What that folder is marked with."""

    def enter_folder(self) -> None:
        """Changes to the driver's working folder; Tune has changed to one of its own.

        Without that folder a node can only train where checkpoints are in a cloud.

        Raises:
            StudyError: this node does not see the folder, or that of the checkpoints.
        """
        if self.folder.is_dir():
            os.chdir(self.folder)
        elif not isinstance(self.checkpoints, RemotePath):
            raise StudyError(
                "every node must see the folder that the command was started in, under the same path",
                got=f"no {self.folder} on {platform.node()}",
                remedy="Start the command in a folder on a shared file system, or give --checkpoints a cloud folder",
            )
        if self.checkpoints is not None and not belongs_to(self.mark, self.checkpoints):
            raise StudyError(
                "every node must see the folder of the study's checkpoints: trials go on from them on any node",
                got=f"none of this study in {self.checkpoints} on {platform.node()}",
                remedy="Give --checkpoints a folder on a shared file system, or one in a cloud",
            )

    def worker_here(self) -> InlineWorker:
        """A worker in this process; the images are decoded first, where this node has not done so.

        Raises:
            UserError: the folder, the space, the data or the device cannot be used on this node.
        """
        torch.set_num_threads(self.threads)
        data = self.worker.data and prepared_here(self.worker.data)
        return InlineWorker(replace(self.worker, data=data).runner())


class TrialTrainable(tune.Trainable):
    """Trains jobs for Tune: each step trains an epoch, or ends the job.

    Tune keeps the actor for the next job (`reuse_actors`), so that space and images are loaded once. Tune has no way to
    tell an actor to save at another place than Tune's own, so the driver's verdict comes by a method of its own, which
    Ray runs before the next step: it keeps the order of one caller's tasks on an actor
    (https://docs.ray.io/en/latest/ray-core/actors/task-orders.html).
    """

    worker: InlineWorker | None = None
    begun = False

    def setup(self, config: dict[str, Any]) -> None:
        """Takes the first job."""
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next job; it begins with the next step."""
        self.given: ActorSetup = new_config[SETUP]
        self.job: TrialJob = new_config[JOB]
        self.begun = False
        return True

    def answer(self, verdict: Verdict) -> None:
        """Takes the driver's verdict on the last epoch."""
        assert self.worker is not None
        self.worker.answer(verdict)

    def step(self) -> dict[str, Any]:
        """Trains until the job's next message."""
        message = self._message()
        return {MESSAGE: message, DONE: isinstance(message, JobEnd)}

    def cleanup(self) -> None:
        """Abandons the job, if it has not ended."""
        if self.worker is not None:
            self.worker.close()

    def _message(self) -> Message:
        if not self.begun:
            try:
                self._begin()
            except Exception as error:
                return could_not_begin(self.job, error)
        assert self.worker is not None
        return self.worker.receive()

    def _begin(self) -> None:
        self.given.enter_folder()
        self.worker = self.worker or self.given.worker_here()
        self.worker.begin(self.job)
        self.begun = True
