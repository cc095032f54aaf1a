"""The report of a study: whether short runs can be trusted, plan against actual, the Pareto front.

Everything comes from what the study holds; `rank_correlation`, `resource_usage` and `pareto` beside it compute it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import optuna
import pandas as pd
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from cifar.files import write_text
from search.planning.plan import Plan
from search.reporting.fronts import Standing, best_by_limit, standings
from search.reporting.rank_correlation import Agreement, Values, agreements, winner_history
from search.reporting.resource_usage import Bill, make_bill
from search.settings import StudyError
from search.study.session_log import calls
from search.study.study import stored_plan
from search.study.trials import distinct, is_feasible, reached

CHECKPOINTS = "checkpoints"  # folder of the paused trials' states, in the study's


@dataclass(frozen=True)
class StudyReport:
    """What is reported of a study."""

    name: str
    """The study's."""
    plan: Plan
    """Of the study."""
    trusted: tuple[Agreement, ...]
    """How rungs agree."""
    history: tuple[Agreement, ...]
    """Where the trial that is best at the highest rung reached stood at each earlier one."""
    bill: Bill
    """Plan against actual."""
    standings: tuple[Standing, ...]
    """Complete trials with their cost; none where the space has no cost."""
    best: tuple[tuple[int, Standing | None], ...]
    """The best complete trial of every limit, where the study has several."""
    percent: bool
    """Whether values are accuracies."""


def study_report(study: optuna.Study, folder: Path) -> StudyReport:
    """The report of a study.

    Args:
        study: made by `search.run`.
        folder: the study's.

    Raises:
        StudyError: not made by `search.run`, or nothing was trained yet.
    """
    plan, trials = stored_plan(study), study.get_trials(deepcopy=False)
    if not any(reached(trial) for trial in trials):
        raise StudyError(
            "a report needs a trial that was trained for an epoch",
            got=f"none in study {study.study_name!r}",
            remedy="Run search.run longer",
        )
    values = rung_values(trials, plan, maximize=study.direction is StudyDirection.MAXIMIZE)
    found = tuple(standings(study))
    return StudyReport(
        name=study.study_name,
        plan=plan,
        trusted=tuple(agreements(values, plan.rungs)),
        history=tuple(winner_history(values, plan.rungs)),
        bill=make_bill(trials, plan, calls(study), _size(folder / CHECKPOINTS)),
        standings=found,
        best=tuple(best_by_limit(found, plan.param_budgets)),
        percent=plan.train_size > 0,
    )


def rung_values(trials: list[FrozenTrial], plan: Plan, *, maximize: bool) -> Values:
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


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.pt"))


def write_study_report(folder: Path, report: StudyReport) -> list[Path]:
    """Writes report.md, rung_agreement.csv, bill.csv and, where there is a cost, pareto.csv; returns their paths."""
    from search.reporting.study_sections import sections
    from search.reporting.tables import markdown

    title = [f"# Report of study `{report.name}`", "", "Written by `python -m search.report`.", ""]
    tables: dict[str, list[dict[str, object]]] = {
        "rung_agreement.csv": _agreement_rows(report),
        "bill.csv": _bill_rows(report.bill),
    }
    if report.standings:
        tables["pareto.csv"] = [standing.row() for standing in report.standings]
    write_text(folder / "report.md", "\n".join([*title, *markdown(sections(report))]).rstrip() + "\n")
    for name, rows in tables.items():
        write_text(folder / name, pd.DataFrame(rows, dtype=object).to_csv(index=False, lineterminator="\n"))
    return [folder / name for name in ("report.md", *tables)]


def _agreement_rows(report: StudyReport) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for pair in dict.fromkeys((*report.trusted, *report.history)):
        low, high = pair.interval or (None, None)
        rows.append(
            {
                "low_epochs": pair.low,
                "high_epochs": pair.high,
                "trials_at_low": pair.reached_low,
                "trials_at_both": pair.both,
                "spearman": pair.rho,
                "interval_low": low,
                "interval_high": high,
                "best_at_high": pair.winner,
                "its_place_at_low": pair.place,
                "its_place_at_low_of_all": pair.place_of_all,
            }
        )
    return rows


def _bill_rows(bill: Bill) -> list[dict[str, object]]:
    rows: list[tuple[str, object, object]] = [("trials_started", bill.planned_trials, bill.trials)]
    for stage in bill.stages:
        rows.append((f"trials_to_{stage.rung}_epochs", stage.planned_trials, stage.trials))
        rows.append((f"epochs_in_stage_to_{stage.rung}", stage.planned_epochs, stage.epochs))
    rows += [
        ("epochs", bill.planned_epochs, bill.epochs),
        ("seconds", bill.planned_seconds, bill.seconds),
        ("seconds_an_epoch", bill.planned_epoch_seconds, bill.epoch_seconds),
        ("checkpoint_bytes", bill.planned_disk, bill.disk),
        ("training_seconds", None, round(bill.training_seconds, 1)),
        ("epochs_if_all_in_full", None, bill.full_epochs),
        ("epochs_saved_by_stopping", None, bill.saved_by_stopping),
        ("times_resumed", None, bill.resumed),
        ("epochs_saved_by_resuming", None, bill.saved_by_resuming),
        ("repeats", None, bill.repeats),
        ("epochs_saved_by_repeats", None, bill.saved_by_repeats),
        ("epochs_lost", None, bill.lost_epochs),
    ]
    return [{"what": what, "planned": planned, "actual": actual} for what, planned, actual in rows]
