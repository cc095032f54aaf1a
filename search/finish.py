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
from search.planning.division import MOST_TIMES
from search.planning.finals import FINALISTS, finals_plan
from search.planning.plan import Plan
from search.reporting.runs.run_report import write_run_report
from search.reporting.screen.terminal import Display, QuietDisplay
from search.reporting.studies.standing_section import verdict
from search.reporting.study_page.page import write_study_page
from search.retraining.candidates import choose, final_folder
from search.retraining.final_evaluation import Outcome
from search.retraining.retrainer import retrain
from search.retraining.settings import RetrainSettings
from search.session import run_search
from search.settings import FINALS, SearchSettings
from search.study.attributes import BASELINE, CANDIDATE, FINALIST, given
from search.study.cached_storage import refresh
from search.study.exclusion import exclusive
from search.study.progress import Progress, progress_of, store_progress
from search.study.standing import Standing, choose_trials, standing
from search.study.study import create_study, find_whole_study, seed_of, stored_plan
from search.study.trials import mean_epoch_seconds, ranked


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


# ---- finals


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
    best = choose_trials(study, "best")[0]
    finals = _finals(study, settings, data, display)
    stands = None if finals is None else _after_finals(finals, study, settings, display, engine, clock)
    if stands is None:
        stands = standing(study)
        assert stands is not None  # there is a best trial
        display.say(f"winner      {verdict(stands)}")
        return _trusted(study, settings, stands, display).number
    display.say(f"winner      in the finals: {verdict(stands)}")
    return int(stands.best.user_attrs.get(FINALIST, best.number))  # else it stood in for one that failed


def _trusted(study: optuna.Study, settings: SearchSettings, stands: Standing, display: Display) -> FrozenTrial:
    """The best trial; the baseline where the final training is too long for what short trials tell."""
    baseline, seconds = stands.baseline, mean_epoch_seconds([stands.baseline] if stands.baseline else [])
    if baseline is None or baseline is stands.best or not seconds:
        return stands.best
    times = progress_of(study, settings).left / (seconds * stored_plan(study).max_epochs)
    if times <= MOST_TIMES:
        return stands.best
    display.say(
        f"            the baseline is trained: a lead in trials that short says too little of a training {times:.0f} "
        f"times as long (search.retrain --trial {stands.best.number} trains the other)"
    )
    return baseline


def _begun_baseline(study: optuna.Study) -> FrozenTrial | None:
    """The baseline, if it was begun at all."""
    trials = study.get_trials(deepcopy=False)
    return next((t for t in trials if BASELINE in t.user_attrs and CANDIDATE in t.user_attrs), None)


def _finals(
    study: optuna.Study, settings: SearchSettings, data: PreparedData, display: Display
) -> SearchSettings | None:
    """Settings of the finals' study, made where it does not exist; None where there are to be none."""
    name = f"{settings.study_name}{FINALS}"
    finals = replace(settings, study=name, retrain=False, max_trials=FINALISTS, pruner="promotion", objective=())
    finals = replace(finals, epoch_budget=None, min_epochs=None, max_epochs=None, train_size=None, eta=None, seed=None)
    held = find_whole_study(finals)
    if held is None:
        plan = _finals_plan(study, settings, data)
        if plan is None:
            return None
        held = create_study(
            replace(finals, seed=seed_of(study, settings)), plan, "maximize", data.fingerprint, data.source
        )
        images = f"{plan.max_epochs * plan.train_size:,} images"
        display.say(f"finals      the baseline and the best others, trained on up to {images} each, in study {name}")
    _enqueue(held, _finalists(study))
    return finals


def _enqueue(finals: optuna.Study, finalists: list[FrozenTrial]) -> None:
    """Queues the finalists that are missing: a stop may have come between two of them."""
    with exclusive(finals):  # another call may queue them too
        refresh(finals)
        known = {trial.user_attrs.get(FINALIST) for trial in finals.get_trials(deepcopy=False)}
        for trial in finalists:
            if trial.number not in known:
                finals.enqueue_trial(dict(trial.params), user_attrs={**given(trial.user_attrs), FINALIST: trial.number})


def _finalists(study: optuna.Study) -> list[FrozenTrial]:
    """The complete baseline and the best other trials; none where there is no such baseline, or too few others."""
    stands = standing(study)
    if stands is None or stands.baseline is None or not stands.comparable:
        return []
    others = [trial for trial in ranked(study) if trial is not stands.baseline]
    found = [stands.baseline, *others][:FINALISTS]
    return found if len(found) == FINALISTS else []


def _finals_plan(study: optuna.Study, settings: SearchSettings, data: PreparedData) -> Plan | None:
    plan, seconds = stored_plan(study), mean_epoch_seconds(_finalists(study))
    if not seconds:
        return None
    full_trial, left = seconds * plan.max_epochs, progress_of(study, settings).finals_left
    return finals_plan(plan, left, full_trial, settings.workers, data.train_count - plan.val_size)


def _after_finals(
    finals: SearchSettings,
    study: optuna.Study,
    settings: SearchSettings,
    display: Display,
    engine: Engine | None,
    clock: Clock,
) -> Standing | None:
    """Runs the finals, or what is left of them; None where their time did not suffice for the baseline."""
    left, began = progress_of(study, settings).finals_left, clock()
    if left:
        try:
            run_search(replace(finals, time_budget=left), display, engine, clock)
        finally:
            progress = progress_of(study, settings)
            store_progress(study, replace(progress, compared=progress.compared + clock() - began))
    held = find_whole_study(finals)
    stands = None if held is None else standing(held)
    return stands if stands is not None and stands.comparable else None
