"""What samplers see of a study: trials as far as they came and, of two objectives, their place among others."""

from __future__ import annotations

import copy
import math
from collections.abc import Container, Mapping, Sequence
from heapq import nsmallest

from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.engine.promotion import Status, TrialView, best_first
from search.study.cached_storage import ForwardingStorage
from search.study.objectives import second_of
from search.study.trials import distinct, is_feasible, is_paused

MOST_SHOWN = 500
"""Trials that a model learns from at most, see `benchmarks.scale`: a proposal's time grows with them."""


class AsReached(ForwardingStorage):
    """Shows trials with a value at a rung as pruned there; hides repeats, and closed trials that others resume.

    TPE ranks pruned trials by the last epoch that they reported, and trials of one epoch by its value. Where there are
    more trials than are to be shown, half of those shown are the first by that rank, which include the 25 at most that
    TPE takes for the good ones; the other half are the newest of the rest.

    Args:
        backend: the storage.
        rungs: epochs at which trials pause.
        shown: how trials were shown before, by number.
        most: trials to show; None is all.
        maximize: whether larger values are better.
    """

    def __init__(
        self,
        backend: BaseStorage,
        rungs: Sequence[int],
        shown: dict[int, tuple[FrozenTrial, FrozenTrial]],
        *,
        most: int | None = None,
        maximize: bool = False,
    ) -> None:
        super().__init__(backend)
        self.most, self.sign = most, -1.0 if maximize else 1.0
        self.rungs = rungs
        self.shown = shown  # by number: the stored trial and how it was shown, which holds while it is the same

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = self._chosen([self._show(t) for t in distinct(self.backend.get_all_trials(study_id, deepcopy=False))])
        trials = [t for t in trials if states is None or t.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def _chosen(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """As many of the trials as are to be shown, in their order."""
        if self.most is None or len(trials) <= self.most:
            return trials
        first = {t.number for t in nsmallest(self.most // 2, trials, key=self._rank)}
        newest = [t.number for t in trials if t.number not in first][-(self.most - len(first)) :]
        kept = first.union(newest)
        return [t for t in trials if t.number in kept]

    def _rank(self, trial: FrozenTrial) -> tuple[int, float]:
        return -(trial.last_step or 0), self.sign * trial.values[0] if trial.values else math.inf

    def _show(self, trial: FrozenTrial) -> FrozenTrial:
        if trial.state is not TrialState.RUNNING and not is_paused(trial):
            return trial
        known = self.shown.get(trial.number)
        if known is None or known[0] is not trial:
            self.shown[trial.number] = known = (trial, self._as_pruned(trial))
        return known[1]

    def _as_pruned(self, trial: FrozenTrial) -> FrozenTrial:
        """The trial as if it had been pruned at the last rung that it reached; as it is where it reached none."""
        values = {rung: trial.intermediate_values[rung] for rung in self.rungs if rung in trial.intermediate_values}
        if not values:
            return trial
        changed = copy.copy(trial)
        changed.state, changed.value = TrialState.PRUNED, values[max(values)]
        changed.intermediate_values = values
        return changed


class AsOrdered(ForwardingStorage):
    """Shows a study of two objectives as one of a single objective: a trial's place among those of its rung.

    Optuna's TPE would fail here: it ranks pruned trials by the one direction of a study, which this one has not
    (`_get_pruned_trial_score` in optuna/samplers/_tpe/sampler.py). On places it learns what the better trials have in
    common by the same rank and hypervolume by which they are promoted, and so does every other sampler.

    Args:
        backend: shows the trials as they are, with values of both objectives.
        rungs: epochs at which trials are put in order, the full length last.
        second: the second objective, as `--objective` names it.
        maximize: whether larger values of the first are better.
    """

    def __init__(self, backend: AsReached, rungs: Sequence[int], second: str, *, maximize: bool) -> None:
        super().__init__(backend)
        self.rungs, self.second, self.maximize = rungs, second, maximize
        self.places: dict[int, dict[int, float]] | None = None  # by rung and number, once they were asked for

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return [StudyDirection.MINIMIZE]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        if self.places is None:
            self.places = self._ordered(self.backend.get_all_trials(study_id, deepcopy=False))
        found = self.backend.get_all_trials(study_id, deepcopy=False, states=states)
        trials = [self._show(trial, self.places) for trial in found]
        return copy.deepcopy(trials) if deepcopy else trials

    def _ordered(self, trials: Sequence[FrozenTrial]) -> dict[int, dict[int, float]]:
        """Places at each rung of the trials that have a value there; 0 is best."""
        sign = -1.0 if self.maximize else 1.0
        views = [
            TrialView(
                trial.number,
                Status.ENDED,
                0,
                {rung: sign * value for rung, value in trial.intermediate_values.items()},
                second=second,
            )
            for trial in trials
            if is_feasible(trial) and (second := second_of(trial, self.second)) is not None
        ]
        return {r: {t.number: float(i) for i, t in enumerate(best_first(views, r))} for r in self.rungs}

    def _show(self, trial: FrozenTrial, places: Mapping[int, Mapping[int, float]]) -> FrozenTrial:
        if not trial.state.is_finished():
            return trial
        shown = copy.copy(trial)
        reached = {rung: places[rung][trial.number] for rung in self.rungs if trial.number in places[rung]}
        shown.intermediate_values = reached
        shown.values = [reached[max(reached)]] if reached else None
        if trial.state is TrialState.COMPLETE and not reached:
            shown.state = TrialState.FAIL
        return shown
