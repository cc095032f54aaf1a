"""What is reported of a study: whether short runs can be trusted, plan against actual, accuracy against size.

The figures come from what the study holds; `study_sections` puts them into words, `study_files` writes them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.engine.outcomes import counts_of
from search.planning.plan import Plan
from search.reporting.studies.importance import Importance, importance
from search.reporting.studies.job_log import JOBS, Job, read_jobs
from search.reporting.studies.pareto import CostedTrial, best_by_limit, costed_trials
from search.reporting.studies.rank_correlation import RankCorrelation, Values, rank_correlations, winner_history
from search.reporting.studies.resource_usage import ResourceUsage, resource_usage
from search.reporting.studies.trial_rows import TrialRow, trial_rows
from search.settings import StudyError
from search.study.checkpoints import bytes_of_checkpoints
from search.study.objectives import FrontTrial, front_trials, second_objective
from search.study.session_log import calls
from search.study.standing import Standing, standing
from search.study.study import stored_plan
from search.study.trials import distinct, is_feasible, maximizes


@dataclass(frozen=True)
class StudyReport:
    """The figures of a study."""

    name: str
    """Name of the study."""
    plan: Plan
    """The plan that all trials share."""
    correlations: tuple[RankCorrelation, ...]
    """Rank correlations between rungs."""
    winner_history: tuple[RankCorrelation, ...]
    """Where the trial that is best at the highest rung reached stood at each earlier one."""
    standing: Standing | None
    """The best trial against the baseline; None where no trial has a value."""
    counts: str
    """How many trials there are, by what became of them."""
    usage: ResourceUsage
    """Plan against actual."""
    costed: tuple[CostedTrial, ...]
    """Complete trials with their cost, best first; none where the space has no cost."""
    second: str | None
    """The second objective as `--objective` names it; None where there is one objective."""
    front: tuple[FrontTrial, ...]
    """Complete trials of a study of two objectives by both, the best first; none in a study of one."""
    best: tuple[tuple[int, CostedTrial | None], ...]
    """The best complete trial within each limit, where the study has several."""
    percent: bool
    """Whether values are accuracies."""
    maximize: bool
    """Whether larger values are better."""
    trials: tuple[TrialRow, ...]
    """All trials, how each ended, and their values."""
    importance: Importance | None
    """Which parameters mattered; None with too few trials."""
    jobs: tuple[Job, ...]
    """When the jobs of trials ran; none of a study made before that was recorded."""


def require_trained(report: StudyReport) -> None:
    """Refuses the report of a study of which nothing can be told yet.

    Raises:
        StudyError: no trial was trained for an epoch.
    """
    if not any(row.values for row in report.trials):
        raise StudyError(
            "a report needs a trial that was trained for an epoch",
            got=f"none in study {report.name!r}",
            remedy="Run search.run longer",
        )


def study_report(study: optuna.Study, folder: Path) -> StudyReport:
    """The report of a study.

    Args:
        study: a study made by `search.run`.
        folder: the study's folder.

    Raises:
        StudyError: not made by `search.run`.
    """
    plan, trials = stored_plan(study), study.get_trials(deepcopy=False)
    maximize = maximizes(study)
    values = rung_values(trials, plan, maximize=maximize)
    costed = costed_trials(study)
    return StudyReport(
        name=study.study_name,
        plan=plan,
        correlations=tuple(rank_correlations(values, plan.rungs)),
        winner_history=tuple(winner_history(values, plan.rungs)),
        standing=standing(study),
        counts=counts_of(trials),
        usage=resource_usage(trials, plan, calls(study), bytes_of_checkpoints(study, folder)),
        costed=tuple(costed),
        second=second_objective(study),
        front=tuple(front_trials(study)),
        best=tuple(best_by_limit(costed, plan.param_budgets)),
        percent=plan.train_size > 0,
        maximize=maximize,
        trials=tuple(trial_rows(trials, plan)),
        importance=importance(trials, values, plan.rungs),
        jobs=tuple(read_jobs(folder / JOBS)),
    )


def rung_values(trials: Iterable[FrozenTrial], plan: Plan, *, maximize: bool) -> Values:
    """What the trials reported at the rungs, larger being better; without infeasible, failed and repeated ones."""
    sign = 1.0 if maximize else -1.0
    kept = [t for t in distinct(trials) if t.state is not TrialState.FAIL and is_feasible(t)]
    return {
        t.number: {
            rung: sign * t.intermediate_values[rung]
            for rung in plan.rungs
            if math.isfinite(t.intermediate_values.get(rung, math.nan))
        }
        for t in kept
    }
