"""A study as Optuna's dashboard is to show it; what is stored stays as it is.

A candidate is a few words there, not its JSON form, which makes a trial's page thousands of pixels wide. Each trial has
a note that says what it is and why it ended, until a person writes another. Trials over a limit are infeasible: the
dashboard 0.21 reads the list `constraints`, and Optuna 5 stores one value a limit. Paused trials no longer run. Trials
that were trained in full have their runs' files as artifacts, and the study a figure of the learning curves with rungs.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Container, Sequence
from datetime import timedelta
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from search.engine.outcomes import outcome_of, word
from search.format import format_percent
from search.reporting.dashboard_artifacts import RunArtifacts
from search.reporting.pages.html import light
from search.reporting.studies.study_report import study_report
from search.reporting.study_page import history_figures
from search.reporting.study_page.run_sections import RunHeadline
from search.reporting.summary import summary_of
from search.settings import StudyError
from search.study.attributes import CANDIDATE, RIGHT, SUMMARY, record
from search.study.cached_storage import ForwardingStorage
from search.study.optuna_internals import FrozenStudy, id_of_frozen_study, id_of_trial
from search.study.trials import is_paused

CONSTRAINTS = "constraints"
"""Key of a trial's system attributes where the dashboard reads its constraints (optuna_dashboard/_serializer.py)."""


PLOT = "dashboard:plot_data:rungs:"
"""Beginning of the keys where the dashboard reads a figure in parts (optuna_dashboard/_custom_plot_data.py)."""
PART = 2045
"""Characters of a part, as there."""
PLOT_SECONDS = 30.0
"""Seconds for which a figure is shown before it is drawn anew: a dashboard asks every few seconds."""


class DashboardView(ForwardingStorage):
    """A storage whose trials read as the head of this file says.

    Args:
        backend: the storage that is shown.
        study_id: the study whose trials get notes and artifacts.
        artifacts: the files of its runs.
        clock: tells the time in seconds.
    """

    def __init__(
        self, backend: BaseStorage, study_id: int, artifacts: RunArtifacts, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(backend)
        self.study_id, self.artifacts, self.clock = study_id, artifacts, clock
        self.plot: dict[str, str] = {}
        self.plot_until = -1.0  # time of the clock

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """The trial, in words."""
        trial = self.backend.get_trial(trial_id)
        own = any(id_of_trial(one) == trial_id for one in self.backend.get_all_trials(self.study_id, deepcopy=False))
        return self._with_artifacts([_in_words(trial)])[0] if own else _in_words(trial)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials, in words."""
        shown = list(map(_in_words, self.backend.get_all_trials(study_id, deepcopy)))
        if study_id == self.study_id:
            shown = self._with_artifacts(shown)
        return [trial for trial in shown if states is None or trial.state in states]

    def _with_artifacts(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """Copies of trials, with the files of their runs."""
        runs = self.artifacts.runs()
        for trial in (trial for trial in trials if trial.number in runs):
            trial.system_attrs = {**trial.system_attrs, **self.artifacts.attributes(runs[trial.number])}
        return trials

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """The study's own attributes, the notes of its trials, and its figure."""
        attributes = self.backend.get_study_system_attrs(study_id)
        return {**self._notes(), **self._plot(), **attributes} if study_id == self.study_id else attributes

    def get_all_studies(self) -> list[FrozenStudy]:
        """All studies; the one that is shown has notes."""
        studies = self.backend.get_all_studies()
        return [self._noted(s) if id_of_frozen_study(s) == self.study_id else s for s in studies]

    def _noted(self, study: FrozenStudy) -> FrozenStudy:
        noted = copy.copy(study)
        noted.system_attrs = {**self._notes(), **self._plot(), **study.system_attrs}
        return noted

    def _plot(self) -> dict[str, str]:
        """The learning curves with rungs, by the keys of their parts; none before the first value."""
        if self.clock() >= self.plot_until:
            self.plot = _parts(self._curves())
            self.plot_until = self.clock() + PLOT_SECONDS
        return self.plot

    def _curves(self) -> str:
        study = optuna.load_study(storage=self.backend, study_name=self.get_study_name_from_id(self.study_id))
        try:
            report = study_report(study, self.artifacts.folder)
        except StudyError:  # a study that search.run did not make
            return ""
        curves = history_figures.figures(report).get("curves")
        if curves is None:
            return ""
        title = {"text": "Learning curves; dotted lines are rungs", "y": 0.98, "yanchor": "top"}
        curves.update_layout(title=title, margin={"t": 110})
        return light(str(curves.to_json(engine="json")))

    def _notes(self) -> dict[str, Any]:
        """Notes by the keys of the dashboard (optuna_dashboard/_note.py), each in its first version."""
        notes: dict[str, Any] = {}
        runs = self.artifacts.runs()
        for trial in self.backend.get_all_trials(self.study_id, deepcopy=False):
            key = f"dashboard:{id_of_trial(trial)}"
            notes |= {f"{key}:note_ver": 1, f"{key}:note_str:0": note(trial, runs.get(trial.number, ()))}
        return notes


def _parts(figure: str) -> dict[str, str]:
    return {f"{PLOT}{place}": figure[start : start + PART] for place, start in enumerate(range(0, len(figure), PART))}


def note(trial: FrozenTrial, runs: Sequence[RunHeadline] = ()) -> str:
    """What a trial is, what became of it, and what its runs gave, as Markdown."""
    held, lines = record(trial), []
    if summary := summary_of(trial):
        lines.append(f"`{summary}`")
    if trial.state is TrialState.WAITING:
        lines.append("queued")
    else:
        lines.append(": ".join(filter(None, (word(outcome_of(trial)), held.reason))))
    if held.resumes is not None:
        lines.append(f"goes on from trial {held.resumes}")
    if held.retries is not None:
        lines.append(f"tries trial {held.retries} again")
    for run in runs:
        lines.append(f"trained in full, `{run.folder}`: {format_percent(run.metrics['accuracy'])} of the test images")
    return "\n\n".join(lines)


def _in_words(trial: FrozenTrial) -> FrozenTrial:
    shown = copy.copy(trial)
    if CANDIDATE in trial.user_attrs:
        rest = {key: value for key, value in trial.user_attrs.items() if key not in (SUMMARY, RIGHT)}
        shown.user_attrs = {**rest, CANDIDATE: summary_of(trial)}
    if trial.constraints:
        shown.system_attrs = {**trial.system_attrs, CONSTRAINTS: list(trial.constraints.values())}
    if trial.state is TrialState.RUNNING and is_paused(trial):
        shown.state = TrialState.PRUNED
        if trial.datetime_start is not None:
            held = record(trial)
            trained = timedelta(seconds=held.paused * (held.epoch_seconds or 0.0))
            shown.datetime_complete = trial.datetime_start + trained
    return shown
