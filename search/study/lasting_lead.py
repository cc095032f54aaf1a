"""Whether a trial's lead over the baseline is expected to last until the end of the final training."""

from __future__ import annotations

import math

import optuna
from optuna.trial import FrozenTrial

from search.format import format_percent
from search.planning.division import MOST_TIMES
from search.settings import SearchSettings
from search.study.attributes import FINALIST, MAC_BUDGET_PROPOSED
from search.study.progress import progress_of
from search.study.projection import value_after
from search.study.standing import Standing, standing
from search.study.study import stored_plan
from search.study.trials import mean_epoch_seconds


def why_not_trained(
    study: optuna.Study, finals: optuna.Study | None, stands: Standing, settings: SearchSettings
) -> str | None:
    """Why the lead of the best trial is not expected to last through the final training; None if it is, or has none."""
    times, images = _times_as_long(study, settings), images_to_come(study, settings)
    if stands.baseline is None or stands.best is stands.baseline or not times or not images:
        return None
    if finals is None and times > MOST_TIMES:
        return f"a lead in trials that short says too little of a training {times:.0f} times as long"
    its, baselines = (_projected(study, finals, trial, images) for trial in (stands.best, stands.baseline))
    if its is None or baselines is None or its > baselines:
        return None
    return (
        f"after some {images:,.0f} images it is expected to have {format_percent(baselines, 1)}, and trial "
        f"{stands.best.user_attrs.get(FINALIST, stands.best.number)} {format_percent(its, 1)}, as errors fell so far"
    )


def _projected(study: optuna.Study, finals: optuna.Study | None, trial: FrozenTrial, images: float) -> float | None:
    """The accuracy of a trial of the search or the finals after so many images, projected from both."""
    trained = [(trial, stored_plan(study if finals is None else finals))]
    if finals is not None:
        earlier = trial.user_attrs.get(FINALIST)
        trained += [(t, stored_plan(study)) for t in study.get_trials(deepcopy=False) if t.number == earlier]
    return value_after(images, trained)


def _times_as_long(study: optuna.Study, settings: SearchSettings) -> float | None:
    """How many times as long as a full trial the time is that is left; None where no epoch was timed."""
    stands, plan = standing(study), stored_plan(study)
    baseline = stands.baseline if stands is not None else None
    seconds = mean_epoch_seconds([baseline] if baseline is not None else [])
    return progress_of(study, settings).left / (seconds * plan.max_epochs) if seconds else None


def images_to_come(study: optuna.Study, settings: SearchSettings) -> float | None:
    """About how many training images the final training will see; None where no epoch was timed.

    Where the final network will be larger than the search's, its training is longer and dearer in equal parts.
    """
    times, plan = _times_as_long(study, settings), stored_plan(study)
    if times is None:
        return None
    return (
        plan.max_epochs * plan.train_size * (math.sqrt(times) if study.user_attrs.get(MAC_BUDGET_PROPOSED) else times)
    )
