"""Trials in MLflow: an experiment, with a run a trial; `mlflow server --backend-store-uri URI` shows them."""

from __future__ import annotations

from typing import Any

from search.engine.events import TrialEnded, TrialOutcome, TrialStarted
from search.tracking.tracker import Setting, Tracker, load

LOCAL = "sqlite:///mlflow.db"
"""MLflow's own default since 3.7 (https://mlflow.org/docs/latest/self-hosting), without a server."""
STATUS = {TrialOutcome.FAILED: "FAILED", TrialOutcome.PAUSED: "SCHEDULED", TrialOutcome.QUEUED: "KILLED"}
"""MLflow's word for how a run stands, where it is not FINISHED."""


class MlflowTracker(Tracker):
    """Writes to an MLflow store.

    Args:
        experiment: its name, such as the study's; made where there is none.
        uri: the store: a database, needing no server or network, or the address of a server.

    Raises:
        StudyError: the package mlflow is missing.
    """

    def __init__(self, experiment: str, uri: str = LOCAL) -> None:
        self._client: Any = load("mlflow", "mlflow").MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(experiment)
        self._experiment: str = found.experiment_id if found else self._client.create_experiment(experiment)
        self._runs: dict[int, str] = {}  # ids by trial
        self._open: set[int] = set()

    def begin(self, event: TrialStarted, settings: dict[str, Setting]) -> None:
        """Creates a run, or goes on with a paused one."""
        number = event.number
        self._open.add(number)
        if number in self._runs:
            self._client.update_run(self._runs[number], status="RUNNING")
            return
        name = f"trial {number}"
        self._runs[number] = self._client.create_run(self._experiment, run_name=name).info.run_id
        for key, value in settings.items():
            self._client.log_param(self._runs[number], key, value)

    def epoch(self, number: int, epoch: int, figures: dict[str, float]) -> None:
        """Logs a metric a figure; steps are epochs."""
        for name, value in figures.items():
            self._client.log_metric(self._runs[number], name, value, step=epoch)

    def knows(self, number: int) -> bool:
        """Whether the trial's run is open."""
        return number in self._open

    def end(self, event: TrialEnded) -> None:
        """Sets the run's status, and tags that say how the trial ended and why."""
        run, status = self._runs[event.number], STATUS.get(event.outcome, "FINISHED")
        self._open.discard(event.number)
        self._client.set_tag(run, "outcome", event.outcome.value)
        self._client.set_tag(run, "reason", event.reason)
        if event.outcome is TrialOutcome.PAUSED:
            self._client.update_run(run, status=status)
        else:
            self._client.set_terminated(run, status)

    def close(self) -> None:
        """Tells the runs of trials that were cut off."""
        for number in self._open:
            self._client.set_terminated(self._runs[number], "KILLED")
        self._open.clear()
