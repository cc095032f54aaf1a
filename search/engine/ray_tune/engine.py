"""Trials on a Ray cluster: Tune places them, starts processes and keeps them; the study stays with this process."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from ray import tune

from search.engine.driver import Driver, Emit, SearchRequest
from search.engine.ray_tune.adapters import JobSearcher, VerdictScheduler
from search.engine.ray_tune.cluster import connect, device_of_each, gpus_of_each, room, threads_of_trial
from search.engine.ray_tune.desk import Desk, Stopped
from search.engine.ray_tune.trainable import ActorSetup, TrialTrainable
from search.signals import ignored
from search.study.checkpoints import mark_of
from search.study.study import require_study
from spaces.multi_limit import space_for

TUNE = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the older output, which has a level of silence
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no files of results beside the study
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours
    "TUNE_GLOBAL_CHECKPOINT_S": "inf",  # Tune's own state is never read: to resume is to read the study
    "TUNE_MAX_PENDING_TRIALS_PG": "1024",  # actors that may start at once; the desk hands out no more than fit
}
"""Tune's settings, which it reads from the environment."""


class RayEngine:
    """Trials side by side on the nodes of a cluster, as many as there is room for."""

    def run(self, request: SearchRequest, emit: Emit) -> None:
        """See `search.engine.engine.Engine`."""
        settings = request.settings
        study = require_study(settings)
        space = space_for(settings.space, request.problem, request.plan.param_budgets)
        connect(settings)
        driver = Driver(study, space, request, emit)
        desk = Desk(driver, lambda: room(settings))
        try:
            with desk.stop.by_signals(), suppress(Stopped):
                run_jobs(desk, _actor_setup(request, mark_of(study)), settings.cpus_per_trial, gpus_of_each(settings))
        except BaseException:
            with ignored():  # one more signal must not lose a trial
                driver.interrupt()
            raise


def _actor_setup(request: SearchRequest, mark: str | None) -> ActorSetup:
    setup = replace(request.worker_setup, device=device_of_each(request.settings))
    checkpoints = request.checkpoints if mark else None
    return ActorSetup(setup, Path.cwd(), threads_of_trial(request.settings), checkpoints, mark)


def run_jobs(desk: Desk, setup: ActorSetup, cpus: float, gpus: float) -> None:
    """Has Tune run the desk's jobs until there are no more.

    Raises:
        UserError: something that the user must mend.
        Stopped: the search was to end at once.
    """
    with _environment(TUNE), _silent("ray.tune"), tempfile.TemporaryDirectory() as folder:
        tune.run(
            tune.with_resources(TrialTrainable, {"cpu": cpus, "gpu": gpus}),
            name="trials",
            storage_path=folder,
            search_alg=JobSearcher(desk, setup),
            scheduler=VerdictScheduler(desk),
            num_samples=-1,
            reuse_actors=True,
            raise_on_failed_trial=False,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
            callbacks=[],
            verbose=0,
        )
    desk.check()


def _name(trial: tune.experiment.Trial) -> str:
    name: str = trial.trial_id
    return name


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _silent(logger: str) -> Iterator[None]:
    """Turns off what Tune logs: the search tells it itself."""
    found = logging.getLogger(logger)
    before = found.level
    found.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        found.setLevel(before)
