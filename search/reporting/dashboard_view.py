"""A study as Optuna's dashboard is to show it; what is stored stays as it is.

A candidate is a few words there, not its JSON form, which makes a trial's page thousands of pixels wide. Each trial has
a note that says what it is and why it ended, until a person writes another. Trials over a limit are infeasible: the
dashboard 0.21 reads the list `constraints`, and Optuna 5 stores one value a limit. Paused trials no longer run.
"""

from __future__ import annotations

import copy
from collections.abc import Container
from datetime import timedelta
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from search.engine.outcomes import outcome_of, word
from search.reporting.summary import summary_of
from search.study.attributes import CANDIDATE, SUMMARY, record
from search.study.cached_storage import ForwardingStorage
from search.study.optuna_internals import FrozenStudy, id_of_frozen_study, id_of_trial
from search.study.trials import is_paused

CONSTRAINTS = "constraints"
"""Key of a trial's system attributes where the dashboard reads its constraints (optuna_dashboard/_serializer.py)."""


class DashboardView(ForwardingStorage):
    """A storage whose trials read as the head of this file says.

    Args:
        backend: the storage that is shown.
        study_id: the study whose trials get notes.
    """

    def __init__(self, backend: BaseStorage, study_id: int) -> None:
        super().__init__(backend)
        self.study_id = study_id

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """The trial, in words."""
        return _in_words(self.backend.get_trial(trial_id))

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials, in words."""
        shown = map(_in_words, self.backend.get_all_trials(study_id, deepcopy))
        return [trial for trial in shown if states is None or trial.state in states]

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """The study's own attributes, and the notes of its trials."""
        attributes = self.backend.get_study_system_attrs(study_id)
        return {**self._notes(), **attributes} if study_id == self.study_id else attributes

    def get_all_studies(self) -> list[FrozenStudy]:
        """All studies; the one that is shown has notes."""
        studies = self.backend.get_all_studies()
        return [self._noted(s) if id_of_frozen_study(s) == self.study_id else s for s in studies]

    def _noted(self, study: FrozenStudy) -> FrozenStudy:
        noted = copy.copy(study)
        noted.system_attrs = {**self._notes(), **study.system_attrs}
        return noted

    def _notes(self) -> dict[str, Any]:
        """Notes by the keys of the dashboard (optuna_dashboard/_note.py), each in its first version."""
        notes: dict[str, Any] = {}
        for trial in self.backend.get_all_trials(self.study_id, deepcopy=False):
            key = f"dashboard:{id_of_trial(trial)}"
            notes |= {f"{key}:note_ver": 1, f"{key}:note_str:0": note(trial)}
        return notes


def note(trial: FrozenTrial) -> str:
    """What a trial is and what became of it, as Markdown."""
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
    return "\n\n".join(lines)


def _in_words(trial: FrozenTrial) -> FrozenTrial:
    shown = copy.copy(trial)
    if CANDIDATE in trial.user_attrs:
        rest = {key: value for key, value in trial.user_attrs.items() if key != SUMMARY}
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
