"""The finals of `search.run --retrain`, a study of their own: the baseline and the best others, trained longer."""

from __future__ import annotations

from dataclasses import replace

import optuna
from optuna.trial import FrozenTrial, TrialState

from cifar.data.prepare import PreparedData
from search.engine.engine import Engine
from search.engine.scheduler import Clock
from search.planning.finals import FINALISTS, finals_plan
from search.planning.plan import Plan
from search.reporting.screen.terminal import Display
from search.session import run_search
from search.settings import FINALS, SearchSettings
from search.study.attributes import FINALIST, given
from search.study.cached_storage import refresh
from search.study.exclusion import exclusive
from search.study.progress import progress_of, store_progress
from search.study.projection import value_after
from search.study.standing import standing
from search.study.study import create_study, find_whole_study, seed_of, stored_plan
from search.study.trials import mean_epoch_seconds, ranked


def run_finals(
    study: optuna.Study,
    settings: SearchSettings,
    data: PreparedData,
    images: float,
    display: Display,
    engine: Engine | None,
    clock: Clock,
) -> optuna.Study | None:
    """Runs the finals, or what is left of them.

    Args:
        study: the study of the search.
        settings: the search's.
        data: the data set.
        images: training images that the final training will see, for which finalists are chosen.
        display: is shown progress.
        engine: runs the finals; None runs them on this machine.
        clock: tells the seconds that the time budget is counted in.

    Returns:
        Their study; None where the time is too short for finals, or did not suffice for the baseline.
    """
    finals = _settings_of_finals(study, settings, data, images, display)
    if finals is None:
        return None
    left, began = progress_of(study, settings).finals_left, clock()
    if left:
        try:
            run_search(replace(finals, time_budget=left), display, engine, clock)
        finally:
            progress = progress_of(study, settings)
            store_progress(study, replace(progress, compared=progress.compared + clock() - began))
    held = find_whole_study(finals)
    stands = None if held is None else standing(held)
    return held if stands is not None and stands.comparable else None


def _settings_of_finals(
    study: optuna.Study, settings: SearchSettings, data: PreparedData, images: float, display: Display
) -> SearchSettings | None:
    """Settings of the finals' study, made where it does not exist; None where there are to be none."""
    name = f"{settings.study_name}{FINALS}"
    finals = replace(settings, study=name, retrain=False, max_trials=FINALISTS, pruner="promotion", objective=())
    finals = replace(finals, epoch_budget=None, min_epochs=None, max_epochs=None, train_size=None, eta=None, seed=None)
    held = find_whole_study(finals)
    finalists = _finalists(study, images)
    if held is None:
        plan = _finals_plan(study, settings, data, finalists)
        if plan is None:
            return None
        held = create_study(
            replace(finals, seed=seed_of(study, settings)), plan, "maximize", data.fingerprint, data.source
        )
        shown = f"{plan.max_epochs * plan.train_size:,} images"
        display.say(f"finals      the baseline and the best others, trained on up to {shown} each, in study {name}")
    _enqueue(held, finalists)
    return finals


def _enqueue(finals: optuna.Study, finalists: list[FrozenTrial]) -> None:
    """Queues the finalists that are missing: a stop may have come between two of them."""
    with exclusive(finals):  # another call may queue them too
        refresh(finals)
        known = {trial.user_attrs.get(FINALIST) for trial in finals.get_trials(deepcopy=False)}
        for trial in finalists:
            if trial.number not in known:
                finals.enqueue_trial(dict(trial.params), user_attrs={**given(trial.user_attrs), FINALIST: trial.number})


def _finalists(study: optuna.Study, images: float) -> list[FrozenTrial]:
    """The complete baseline, the best other trial, and the best of the rest after so many images as can be projected.

    None where there is no such baseline, or too few others.
    """
    stands, plan = standing(study), stored_plan(study)
    if stands is None or stands.baseline is None or not stands.comparable:
        return []
    others = [trial for trial in ranked(study) if trial is not stands.baseline]
    complete = [trial for trial in others[1:] if trial.state is TrialState.COMPLETE]
    complete.sort(key=lambda trial: value_after(images, [(trial, plan)]) or 0.0, reverse=True)
    found = [stands.baseline, *others[:1], *complete, *others[1 + len(complete) :]][:FINALISTS]
    return found if len(found) == FINALISTS else []


def _finals_plan(
    study: optuna.Study, settings: SearchSettings, data: PreparedData, finalists: list[FrozenTrial]
) -> Plan | None:
    plan, seconds = stored_plan(study), mean_epoch_seconds(finalists)
    if not seconds:
        return None
    full_trial, left = seconds * plan.max_epochs, progress_of(study, settings).finals_left
    return finals_plan(plan, left, full_trial, settings.workers, data.train_count - plan.val_size)
