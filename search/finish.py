"""What follows the search of `python -m search.run --retrain`: the finals, and the final training of the winner.

study = run_search(settings)  # with retrain=True: uses the search's share of the time
result = finish_search(study, settings)

Every step is kept in the study as it ends (`search.study.progress`); called again, both continue where they stopped.
"""

from __future__ import annotations

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
from search.reporting.runs.run_report import write_run_report
from search.reporting.screen.terminal import Display, QuietDisplay
from search.reporting.studies.standing_section import verdict
from search.reporting.study_page.page import write_study_page
from search.retraining.candidates import choose, final_folder
from search.retraining.final_evaluation import Outcome
from search.retraining.retrainer import retrain
from search.retraining.settings import RetrainSettings
from search.settings import SearchSettings
from search.study.attributes import BASELINE, CANDIDATE, FINALIST
from search.study.lasting_lead import images_to_come, why_not_trained
from search.study.progress import Progress, progress_of, store_progress
from search.study.standing import choose_trials, standing


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
    best, images = choose_trials(study, "best")[0], images_to_come(study, settings)
    finals = run_finals(study, settings, data, images, display, engine, clock) if images else None
    stands = standing(study if finals is None else finals)
    assert stands is not None  # there is a best trial
    display.say(f"winner      {'' if finals is None else 'in the finals: '}{verdict(stands)}")
    doubt = why_not_trained(study, finals, stands, settings)
    if doubt is None or stands.baseline is None:
        return int(stands.best.user_attrs.get(FINALIST, best.number))  # else it stood in for one that failed
    other = stands.best.user_attrs.get(FINALIST, stands.best.number)
    display.say(f"            the baseline is trained: {doubt} (search.retrain --trial {other} trains the other)")
    return int(stands.baseline.user_attrs.get(FINALIST, stands.baseline.number))


def _begun_baseline(study: optuna.Study) -> FrozenTrial | None:
    """The baseline, if it was begun at all."""
    trials = study.get_trials(deepcopy=False)
    return next((t for t in trials if BASELINE in t.user_attrs and CANDIDATE in t.user_attrs), None)
