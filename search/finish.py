"""What follows the search of `python -m search.run --retrain`: the finals, and the final training of the winner.

study = run_search(settings)  # with retrain=True: uses the search's share of the time
result = finish_search(study, settings)

Every step is kept in the study as it ends (`search.study.progress`); called again, both continue where they stopped.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

import optuna
from optuna.trial import FrozenTrial

from cifar.data.prepare import PreparedData, prepare
from cifar.runtime.device import choose_device
from cifar.runtime.seeds import use_deterministic_algorithms
from search.engine.engine import Engine
from search.engine.scheduler import Clock
from search.finals import run_finals
from search.format import format_percent
from search.planning.division import MOST_TIMES
from search.reporting.runs.run_report import write_run_report
from search.reporting.screen.terminal import Display, QuietDisplay
from search.reporting.studies.standing_section import verdict
from search.reporting.study_page.page import write_study_page
from search.retraining.candidates import choose, final_folder
from search.retraining.final_evaluation import Outcome
from search.retraining.retrainer import retrain
from search.retraining.settings import RetrainSettings
from search.settings import SearchSettings
from search.study.attributes import BASELINE, CANDIDATE, FINALIST, MAC_BUDGET_PROPOSED
from search.study.progress import Progress, progress_of, store_progress
from search.study.projection import value_after
from search.study.standing import Standing, choose_trials, standing
from search.study.study import stored_plan
from search.study.trials import mean_epoch_seconds


def finish_search(
    study: optuna.Study,
    settings: SearchSettings,
    display: Display | None = None,
    engine: Engine | None = None,
    clock: Clock = time.monotonic,
) -> Outcome:
    """Chooses the winner of a study and trains it on all images, in what is left of the time budget.

    Args:
        study: the study that `run_search` returned.
        settings: what `run_search` was given, with `retrain=True`.
        display: is shown progress; None shows nothing.
        engine: runs the finals; None runs them on this machine.
        clock: tells the seconds that the time budget is counted in.

    Raises:
        UserError: no trial has a value yet, or something that the user must mend.
    """
    display = display or QuietDisplay()
    data = prepare(settings.data, split=settings.split)
    progress = progress_of(study, settings)
    if progress.winner is None:
        winner = _winner(study, settings, data, display, engine, clock)
        progress = replace(progress_of(study, settings), winner=winner)
        progress = replace(progress, training=progress.left)
        store_progress(study, progress)
    outcome = _trained(progress, settings, data, display)
    write_study_page(study, settings.folder)
    return outcome


def _trained(progress: Progress, settings: SearchSettings, data: PreparedData, display: Display) -> Outcome:
    """The final training, as `search.retrain --trial N --time-budget T` does it."""
    trial, device = str(progress.winner), choose_device(settings.device)
    if settings.deterministic:
        use_deterministic_algorithms()
    chosen = choose(recipe=None, trial=trial, study=settings.study_name, storage=settings.storage, space=None)
    named, folder = chosen.only("--retrain"), final_folder(settings)
    asked = RetrainSettings(time_budget=progress.training, val_size=0)
    display.say(f"training    trial {trial} on all {data.train_count:,} images, in {folder}")
    result = retrain(named.candidate, named.title, folder, data, asked, device, display.say, longer=named.longer)
    write_run_report(result, named.origin)
    return result.outcome


# ---- the winner


def _winner(
    study: optuna.Study,
    settings: SearchSettings,
    data: PreparedData,
    display: Display,
    engine: Engine | None,
    clock: Clock,
) -> int:
    """Number of the trial that is best after the finals, or after the search where the time is too short for them."""
    if standing(study) is None and (begun := _begun_baseline(study)) is not None:
        display.say("winner      the baseline, since the time was too short for any trial's value")
        return begun.number
    best, images = choose_trials(study, "best")[0], _images_to_come(study, settings)
    finals = run_finals(study, settings, data, images, display, engine, clock) if images else None
    stands = standing(study if finals is None else finals)
    assert stands is not None  # there is a best trial
    display.say(f"winner      {'' if finals is None else 'in the finals: '}{verdict(stands)}")
    doubt = _doubt(study, finals, stands, settings)
    if doubt is None or stands.baseline is None:
        return int(stands.best.user_attrs.get(FINALIST, best.number))  # else it stood in for one that failed
    other = stands.best.user_attrs.get(FINALIST, stands.best.number)
    display.say(f"            the baseline is trained: {doubt} (search.retrain --trial {other} trains the other)")
    return int(stands.baseline.user_attrs.get(FINALIST, stands.baseline.number))


def _doubt(study: optuna.Study, finals: optuna.Study | None, stands: Standing, settings: SearchSettings) -> str | None:
    """Why the lead of the best trial is not expected to last through the final training; None if it is, or has none."""
    times, images = _times_as_long(study, settings), _images_to_come(study, settings)
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


def _images_to_come(study: optuna.Study, settings: SearchSettings) -> float | None:
    """About how many training images the final training will see; None where no epoch was timed.

    Where the final network will be larger than the search's, its training is longer and dearer in equal parts.
    """
    times, plan = _times_as_long(study, settings), stored_plan(study)
    if times is None:
        return None
    return (
        plan.max_epochs * plan.train_size * (math.sqrt(times) if study.user_attrs.get(MAC_BUDGET_PROPOSED) else times)
    )


def _begun_baseline(study: optuna.Study) -> FrozenTrial | None:
    """The baseline, if it was begun at all."""
    trials = study.get_trials(deepcopy=False)
    return next((t for t in trials if BASELINE in t.user_attrs and CANDIDATE in t.user_attrs), None)
