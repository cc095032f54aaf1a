"""What a study is searched for: the value that trials report and, where it has two objectives, what a network costs.

The first objective is what training reports after each epoch. The second, smaller being better, is one number a trial:
the network's parameters or its multiply-accumulates, known before it is trained, or its latency, which the worker
measures before the first epoch. A study of two is an ordinary multi-objective study of Optuna's: complete trials have
both values. Optuna keeps no value of other trials there (`optuna/study/_tell.py`), but what they reported, and reports
and prunes by one objective alone (`Trial.report`, `Trial.should_prune`), which is why promotion is our own.
"""

from __future__ import annotations

from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.settings import ACCURACY, FRONT_PRUNERS, SearchSettings, StudyError
from search.study.attributes import LATENCY, MACS, OBJECTIVES, PARAMETERS
from search.study.fronts import Point, knee, non_dominated
from search.study.trials import distinct, is_feasible, maximizes, value_of

KEYS = {"parameters": PARAMETERS, "macs": MACS, "latency": LATENCY}
"""Where a trial holds a second objective."""
NAMES = {"parameters": "parameters", "macs": "multiply-accumulates", "latency": "latency in ms"}
"""Second objectives for a person."""


def second_objective(study: optuna.Study) -> str | None:
    """The second objective as `--objective` names it; None where there is one objective."""
    held = study.user_attrs.get(OBJECTIVES) if len(study.directions) > 1 else None
    return str(held[1]) if held else None


def describe_objectives(study: optuna.Study) -> list[str]:
    """A line that names both objectives; none for a study of one."""
    second = second_objective(study)
    return [] if second is None else [f"objectives  {ACCURACY} and {NAMES[second]}"]


def second_of(trial: FrozenTrial | optuna.Trial, objective: str | None) -> float | None:
    """A trial's second objective; None without one, and before it is known."""
    found = None if objective is None else trial.user_attrs.get(KEYS[objective])
    return None if found is None else float(found)


def check_objectives(study: optuna.Study, settings: SearchSettings) -> None:
    """Refuses other objectives than a study began with, and a pruner that cannot compare its two.

    Raises:
        StudyError: names both and the remedy.
    """
    held = tuple(study.user_attrs.get(OBJECTIVES, (ACCURACY,)))
    if settings.objective not in ((), held):
        raise StudyError(
            f"study {study.study_name!r} continues with the --objective that it began with ({','.join(held)})",
            got=",".join(settings.objective),
            remedy="Leave --objective as it was, or start another study with --study NAME",
        )
    if len(held) > 1 and settings.pruner not in FRONT_PRUNERS:
        raise StudyError(
            f"study {study.study_name!r} has two objectives, which --pruner must compare",
            got=settings.pruner,
            remedy=f"One of {', '.join(FRONT_PRUNERS)}",
        )


@dataclass(frozen=True)
class FrontTrial:
    """A complete trial of a study of two objectives."""

    trial: FrozenTrial
    """The trial."""
    value: float
    """The first objective after a full trial."""
    second: float
    """The second objective."""
    on_front: bool
    """Whether no other complete trial dominates it, see `search.study.fronts`."""
    is_knee: bool
    """Whether it is where the front bulges most."""

    @property
    def place(self) -> str:
        """Where it stands, in words."""
        return "the knee of the front" if self.is_knee else "on the front" if self.on_front else "dominated"


def front_trials(study: optuna.Study) -> list[FrontTrial]:
    """The complete, distinct, feasible trials, those of the best value first; none in a study of one objective."""
    objective = second_objective(study)
    if objective is None:
        return []
    sign = 1.0 if maximizes(study) else -1.0
    complete = distinct(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    known = [(t, value_of(t), second_of(t, objective)) for t in complete if is_feasible(t)]
    found = [(t, value, second) for t, value, second in known if value is not None and second is not None]
    points = [Point(second, sign * value) for _, value, second in found]
    front = non_dominated(points)
    bulge = knee([points[index] for index in front])
    rows = [
        FrontTrial(trial, value, second, index in front, bulge is not None and index == front[bulge])
        for index, (trial, value, second) in enumerate(found)
    ]
    return sorted(rows, key=lambda row: (-sign * row.value, row.second, row.trial.number))
