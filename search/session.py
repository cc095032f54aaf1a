"""A search from Python, exactly what `python -m search.run` does:

from search.session import run_search
from search.settings import SearchSettings

study = run_search(SearchSettings(space="resnet_budget5m", time_budget=600))
study.best_value
"""

from __future__ import annotations

import time

import optuna

from cifar.data import PreparedData, prepare
from cifar.device import Device, choose_device
from search.card import write_card
from search.display import Display, QuietDisplay
from search.engine import Engine, LocalEngine, SearchJob
from search.plan import Plan, Speed, describe, forecast, make_plan, measure_speed, plan_without_images
from search.progress import distinct
from search.settings import DEFAULT_TRIALS, SearchSettings
from search.study import (
    check_continues,
    close_paused_trials,
    create_study,
    find_study,
    look_again,
    reached,
    recover_lost_trials,
    stored_plan,
    write_trials_csv,
)
from spaces.base import Problem, SearchSpace
from spaces.registry import load_space


def run_search(settings: SearchSettings, display: Display | None = None, engine: Engine | None = None) -> optuna.Study:
    """Starts or continues a study and runs trials until the time or number of trials is spent.

    Args:
        settings: what to search, where, and for how long.
        display: is shown the plan and the trials; None shows nothing.
        engine: runs the trials; None runs them on this machine.

    Returns:
        The Optuna study, with its trials told. Ctrl-C ends the search in the same way, then raises KeyboardInterrupt.

    Raises:
        UserError: a setting, space, data set or storage that the user must mend.
    """
    display = display or QuietDisplay()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    device = choose_device(settings.device)
    problem = Problem(param_budget=settings.param_budget, mac_budget=settings.mac_budget or None)
    space = load_space(settings.space, problem)  # a wrong space is told before data is fetched
    data = prepare(settings.data) if space.uses_images else None
    started = time.time()
    study, plan, epoch_seconds = _open(settings, space, data, device, display)
    problem = Problem(
        num_classes=len(data.class_names) if data else problem.num_classes,
        image_size=data.image_size if data else problem.image_size,
        param_budget=plan.param_budget,
        mac_budget=plan.mac_budget,
    )
    _enqueue_warm_starts(study, load_space(settings.space, problem), settings)
    deadline = started + settings.time_budget if settings.time_budget else None
    limited = settings.time_budget or settings.epoch_budget
    max_trials = settings.max_trials or (None if limited else DEFAULT_TRIALS)
    job = SearchJob(settings, plan, problem, data, deadline, max_trials, _max_epochs(study, settings), epoch_seconds)
    try:
        with display.showing(settings, plan, study, deadline, max_trials, space):
            (engine or LocalEngine()).run(job, display.event)
    finally:
        look_again(study)
        close_paused_trials(study)
        write_trials_csv(study, settings)
        write_card(study, settings, plan, device)
    return study


def _open(
    settings: SearchSettings, space: SearchSpace, data: PreparedData | None, device: Device, display: Display
) -> tuple[optuna.Study, Plan, float | None]:
    """The study, continued or new, its plan, both announced, and the seconds of an epoch as far as foreseen."""
    fingerprint = data.fingerprint if data else None
    study = find_study(settings)
    if study is not None:
        check_continues(study, settings, fingerprint)
        plan = stored_plan(study)
        display.say(f"continuing study {settings.study_name!r} with its {len(study.trials)} trials")
        lost = recover_lost_trials(study)
        if lost:
            display.say(f"{lost} trial{'s' * (lost > 1)} of a process that was killed will be run again")
        return study, plan, None
    epoch_seconds = None
    if data is None:
        plan = plan_without_images(settings, space)
        display.say(f"rungs       {', '.join(map(str, plan.rungs))} epochs; one of {plan.eta} trials goes on at each")
    else:
        display.say("measuring how fast this machine trains ...")
        speed: Speed = measure_speed(device)
        plan = make_plan(settings, data, space.param_budget, speed)
        outlook = forecast(plan, settings, speed)
        epoch_seconds = outlook.epoch_seconds
        for line in describe(plan, outlook, settings, device):
            display.say(line)
    study = create_study(settings, plan, space.direction, fingerprint, data.source if data else None)
    return study, plan, epoch_seconds


def _max_epochs(study: optuna.Study, settings: SearchSettings) -> int | None:
    """Epochs of the study in all when this call ends; None without `--epoch-budget`."""
    if settings.epoch_budget is None:
        return None
    return settings.epoch_budget + sum(reached(t) for t in distinct(study.get_trials(deepcopy=False)))


def _enqueue_warm_starts(study: optuna.Study, space: SearchSpace, settings: SearchSettings) -> None:
    if not settings.warm_start or study.get_trials(deepcopy=False):
        return
    for start in space.warm_starts():
        study.enqueue_trial(dict(start.params), user_attrs={"warm_start": start.name, **start.attributes})
