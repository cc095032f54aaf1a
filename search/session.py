"""A search from start to end, as `python -m search.run` does it and as Python programs call it.

from search import SearchSettings, run_search

study = run_search(SearchSettings(space="resnet_budget5m", time_budget=600))
study.best_value

With `retrain=True` it takes its share of the time, and `search.finish.finish_search` the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from cifar.data.prepare import PreparedData, prepare
from cifar.runtime.device import Device, choose_device
from search.engine.driver import SearchRequest
from search.engine.engine import Engine, LocalEngine
from search.engine.events import Event, TrialEnded
from search.engine.kept_models import keep_models, trains_on_images
from search.engine.outcomes import counts_of
from search.engine.same_space import check_space, longer_now
from search.engine.scheduler import Clock
from search.planning.description import describe, describe_rungs, shortfalls
from search.planning.forecast import Forecast, forecast, forecast_at
from search.planning.plan import Plan
from search.planning.planner import make_plan, plan_without_images
from search.planning.speed import Speed, speed_of_each
from search.planning.workers import best_number, devices_to_use, measure_workers, usual_number
from search.reporting.screen.terminal import Display, QuietDisplay
from search.reporting.studies.study_card import write_card
from search.reporting.study_page.live_page import LivePage
from search.settings import DEFAULT_TRIALS, SearchSettings, StudyError
from search.study.attributes import BASELINE, WARM_START
from search.study.backup import Copies
from search.study.cached_storage import refresh
from search.study.checkpoints import CHECKPOINTS, checkpoint_folder_of, settle_checkpoint_folder
from search.study.exclusion import exclusive
from search.study.folder import claim_folder
from search.study.leases import Lease
from search.study.leftovers import leftovers
from search.study.objectives import describe_objectives
from search.study.prior import earlier_best, prior_start, settle_prior
from search.study.progress import describe_progress, progress_of, time_counter
from search.study.recovery import recover_stale_trials
from search.study.remote import Place
from search.study.session_log import changes, close_call, measured_epoch, open_call
from search.study.study import (
    check_continues,
    create_study,
    find_study,
    find_whole_study,
    require_study,
    stored_plan,
    write_trials_csv,
)
from search.study.trials import counted
from spaces.base import Problem, SearchSpace, can_resume
from spaces.multi_limit import space_for
from spaces.registry import BUILT_IN

Callback = Callable[[Event], None]
"""Is told what happens in a search, see `search.engine.events`."""


def run_search(
    settings: SearchSettings,
    display: Display | None = None,
    engine: Engine | None = None,
    clock: Clock = time.monotonic,
    *,
    callbacks: Sequence[Callback] = (),
) -> optuna.Study:
    """Starts or continues a study and runs trials until the time or number of trials is spent.

    Args:
        settings: what to search, where, and for how long.
        display: is shown the plan and the trials; None shows nothing.
        engine: runs the trials; None is the one that the settings name.
        clock: tells the seconds that the time budget is counted in.
        callbacks: are told what happens, in this process, which waits for them. What one raises
            ends the search as Ctrl-C does, and is raised.

    Returns:
        The Optuna study, with its trials told. Ctrl-C ends the search in the same way, then raises KeyboardInterrupt.

    Raises:
        UserError: a setting, space, data set or storage that the user must mend.
    """
    display = display or QuietDisplay()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    device, earlier = choose_device(settings.device), earlier_best(settings)
    space, data = _space_and_data(settings)
    _tell_split(data, settings, display)
    started = clock()
    held, whole = find_whole_study(settings), settings
    # of a whole study; or of one that another call is making, which may have claimed the folder meanwhile
    claim_folder(settings, held if held is not None else lambda: find_study(settings))
    if held is not None:
        Copies(held, settings.folder).make()
        check_continues(held, settings, data.fingerprint if data else None)
    part = _part(held, whole, display)
    if part is None:
        return require_study(whole)
    settings = _with_workers(part, space, device, display)
    study, plan, outlook = _open(held, settings, space, data, device, display)
    claim_folder(settings, study)
    count_time = time_counter(study, whole, clock, started)
    problem = _with_data(Problem(param_budget=plan.param_budget, mac_budget=plan.mac_budget), data)
    space = space_for(settings.space, problem, plan.param_budgets)
    if settings.space not in BUILT_IN:
        check_space(study, space)
    for line in (*describe_objectives(study), *changes(study, settings), *longer_now(study, space, settings)):
        display.say(line)
    lease = Lease(study, settings.folder)
    settled = settle_checkpoint_folder if data and can_resume(space) else checkpoint_folder_of
    checkpoints = settled(study, settings)
    seconds = outlook.epoch_seconds or None if outlook else None
    request = _request(settings, plan, problem, data, clock, started, seconds, checkpoints, lease)
    key, call = open_call(study, plan, outlook, settings, resumes=can_resume(space))
    page, copies = LivePage(study, settings.folder, clock), Copies(study, settings.folder, clock)

    emit = _told_to(display.event, page.event, count_time, copies, callbacks)
    try:
        with lease:
            _prepare(study, space, settings, earlier, lease, checkpoints, display)
            with display.showing(study, plan, space, request.deadline, request.max_trials, clock):
                (engine or _engine(settings)).run(request, emit)
    finally:
        refresh(study)
        recover_stale_trials(study, lease, close_paused=True)  # also one that Ctrl-C cut off before it began
        close_call(study, key, call, clock() - started)
        if data is not None and trains_on_images(space):
            keep_models(study, settings.folder, checkpoints, plan, data, device)
        write_trials_csv(study, settings)
        write_card(study, settings, plan, device)
        count_time()
        page.finish()
    return study


def _space_and_data(settings: SearchSettings) -> tuple[SearchSpace, PreparedData | None]:
    """The space, made for the images, and these, if it needs any; a wrong space is told before they are fetched."""
    problem = Problem(param_budget=settings.param_budget)  # multiply-accumulates depend on the images
    space = space_for(settings.space, problem, settings.param_budgets)
    _require_trainable(settings, space)
    _require_measurable(settings, space)
    data = prepare(settings.data, split=settings.split) if space.uses_images else None
    problem = _with_data(replace(problem, mac_budget=settings.mac_budget or None), data)
    return space_for(settings.space, problem, settings.param_budgets), data


def _told_to(
    shown: Callback, drawn: Callback, count_time: Callable[[], None], copies: Copies, callbacks: Sequence[Callback]
) -> Callback:
    """What the engine tells its events to: the screen, the page, what is kept as a trial ends, and the callbacks."""

    def emit(event: Event) -> None:
        shown(event)
        drawn(event)
        if isinstance(event, TrialEnded):
            count_time()
            copies.update()
        for callback in callbacks:
            callback(event)

    return emit


def _request(
    settings: SearchSettings,
    plan: Plan,
    problem: Problem,
    data: PreparedData | None,
    clock: Clock,
    started: float,
    epoch_seconds: float | None,
    checkpoints: Place,
    lease: Lease,
) -> SearchRequest:
    """What the engine is asked to do; a call without any limit runs a usual number of trials."""
    limited = settings.time_budget or settings.epoch_budget
    return SearchRequest(
        settings,
        plan,
        problem,
        clock,
        data,
        deadline=started + settings.time_budget if settings.time_budget else None,
        max_trials=settings.max_trials or (None if limited else DEFAULT_TRIALS),
        max_epochs=settings.epoch_budget,
        epoch_seconds=epoch_seconds,
        checkpoints=checkpoints,
        lease=lease,
    )


def _prepare(
    study: optuna.Study,
    space: SearchSpace,
    settings: SearchSettings,
    earlier: FrozenTrial | None,
    lease: Lease,
    checkpoints: Place,
    display: Display,
) -> None:
    """Puts the study in order: what drivers that are gone left, its prior, and its first points, each queued once."""
    stale = recover_stale_trials(study, lease, close_paused=True)
    if stale:
        display.say(f"{stale} trial{'s' * (stale > 1)} of a process that was killed will be run again")
    if isinstance(checkpoints, Path):  # what is in a store is left to search.clean
        for path in leftovers(study, checkpoints, own=checkpoints == settings.folder / CHECKPOINTS):
            path.unlink(missing_ok=True)
    with exclusive(study):
        refresh(study)
        settle_prior(study, settings, space, earlier)
        _enqueue_warm_starts(study, space, settings)


def _require_trainable(settings: SearchSettings, space: SearchSpace) -> None:
    """Refuses to retrain what `search.retrain` cannot train."""
    if settings.retrain and not (space.uses_images and trains_on_images(space)):
        raise StudyError(
            "--retrain needs a space whose candidates are trained on images by the default train",
            got=settings.space,
            remedy="Leave --retrain out",
        )


def _require_measurable(settings: SearchSettings, space: SearchSpace) -> None:
    """Refuses to measure the latency of what may be no network."""
    if "latency" in settings.objective and not trains_on_images(space):
        raise StudyError(
            "--objective latency needs a space whose candidates are networks, trained by the default train",
            got=settings.space,
            remedy="Leave latency out",
        )


def _tell_split(data: PreparedData | None, settings: SearchSettings, display: Display) -> None:
    """Says how images were split that were not."""
    if data is not None and settings.split is not None:
        counts = f"{data.train_count:,} images for training and validation, {data.test_count:,} for the test"
        display.say(f"split       {counts}: {settings.split:g} of each class, the same ones every time")


def _part(study: optuna.Study | None, settings: SearchSettings, display: Display) -> SearchSettings | None:
    """The settings with the time left to the search, where --retrain divides it, which is announced; None without."""
    if not settings.retrain:
        return settings
    progress = progress_of(study, settings)
    for line in describe_progress(progress):
        display.say(line)
    return replace(settings, time_budget=progress.search_left) if progress.search_left else None


def _with_data(limits: Problem, data: PreparedData | None) -> Problem:
    """What a space is made for: limits, and the data's classes and image size."""
    if data is None:
        return limits
    return replace(limits, num_classes=len(data.class_names), image_size=data.image_size)


def _with_workers(settings: SearchSettings, space: SearchSpace, device: Device, display: Display) -> SearchSettings:
    """The settings with the number of workers: what Ray has room for; else as they say that it is chosen."""
    if settings.engine == "ray":
        from search.engine.ray_tune.cluster import trials_at_once

        return replace(settings, workers=trials_at_once(settings))
    devices = len(devices_to_use(settings.device))
    if settings.worker_choice == "usual" and space.uses_images:
        return replace(settings, workers=usual_number(device, devices, settings.time_budget))
    if not (settings.worker_choice == "measured" and space.uses_images):
        if space.uses_images and settings.workers < devices:
            display.say(
                f"workers     {settings.workers} on {devices} GPUs; --workers auto or {devices} uses all of them"
            )
        return settings
    display.say("measuring how many workers train most side by side ...")
    speeds = measure_workers(device)
    chosen = best_number(speeds)
    each = f", on each of {devices} GPUs" if devices > 1 else ""
    display.say("workers     " + ", ".join(f"{n}: {speed:,.0f} images/s" for n, speed in speeds.items()) + each)
    return replace(settings, workers=chosen * devices)


def _speed(settings: SearchSettings, device: Device) -> Speed:
    """How fast what trains the trials does so: a worker on this machine, or on a node of the cluster."""
    if settings.engine == "local":
        return speed_of_each(settings, device)
    from search.engine.ray_tune.cluster import measured_speed

    return measured_speed(settings)


def _engine(settings: SearchSettings) -> Engine:
    """The engine that the settings name; Ray is loaded for it alone."""
    if settings.engine == "local":
        return LocalEngine()
    from search.engine.ray_tune.engine import RayEngine

    return RayEngine()


def _open(
    study: optuna.Study | None,
    settings: SearchSettings,
    space: SearchSpace,
    data: PreparedData | None,
    device: Device,
    display: Display,
) -> tuple[optuna.Study, Plan, Forecast | None]:
    """The study, continued or new, and its plan, both announced; what this call is expected to take, where known."""
    if study is not None:
        plan = stored_plan(study)
        display.say(f"continuing study {settings.study_name!r} with its {counts_of(study.get_trials(deepcopy=False))}")
        return study, plan, _outlook(study, plan, settings)
    outlook: Forecast | None = None
    if data is None:
        plan = plan_without_images(settings, space)
        display.say(describe_rungs(plan))
        if not settings.time_budget:  # how long an own trainer takes is not known
            baseline = settings.warm_start and bool(space.warm_starts())
            outlook = forecast_at(plan, settings, 0.0, baseline=baseline)
            for line in shortfalls(plan, outlook, settings):
                display.say(line)
    else:
        display.say("measuring how fast this machine trains ...")
        speed = _speed(settings, device)
        plan = make_plan(settings, data, space.param_budget, speed)
        outlook = forecast(plan, settings, speed)
        for line in describe(plan, outlook, settings, device):
            display.say(line)
    fingerprint, source = (data.fingerprint, data.source) if data else (None, None)
    study = create_study(settings, plan, space.direction, fingerprint, source)
    if stored_plan(study) != plan:  # it is of another call that began at the same time
        check_continues(study, settings, fingerprint)
        return _open(study, settings, space, data, device, display)
    return study, plan, outlook


def _outlook(study: optuna.Study, plan: Plan, settings: SearchSettings) -> Forecast | None:
    """What a call that continues a study will take, from how long its epochs took; None where none was timed."""
    epoch_seconds = measured_epoch(study)
    if not epoch_seconds and settings.time_budget:
        return None
    return forecast_at(plan, settings, epoch_seconds or 0.0, counted(study.get_trials(deepcopy=False)))


def _enqueue_warm_starts(study: optuna.Study, space: SearchSpace, settings: SearchSettings) -> None:
    if not settings.warm_start or study.get_trials(deepcopy=False):
        return
    for place, start in enumerate((*prior_start(study), *space.warm_starts())):
        mark = {BASELINE: True} if place == 0 else {}
        study.enqueue_trial(dict(start.params), user_attrs={WARM_START: start.name, **mark, **start.attributes})
