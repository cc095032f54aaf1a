"""The last lines of a search: its best trial, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

import optuna

from cifar.text import without_password
from search.engine.kept_models import model_folder
from search.engine.outcomes import counts_of
from search.format import format_epochs, format_percent, format_value
from search.reporting.studies.objectives_section import front_line
from search.reporting.studies.standing_section import level, verdict
from search.reporting.studies.study_card import card_path
from search.reporting.study_page.page import PAGE
from search.retraining.final_evaluation import Outcome
from search.settings import SearchSettings
from search.study.attributes import record
from search.study.objectives import front_trials, second_objective
from search.study.standing import standing
from search.study.storage import shown_url
from search.study.study import stored_plan
from search.study.trials import reached, value_of

NO_VALUE = "no trial has a value yet: give it more time with the same command"


def best_line(study: optuna.Study) -> str:
    """The best trial, its value and its size."""
    stands, plan = standing(study), stored_plan(study)
    if stands is None:
        return NO_VALUE
    best, size = stands.best, record(stands.best).parameters
    value = format_value(value_of(best), percent=plan.train_size > 0)
    parameters = "" if size is None else f", {size:,} parameters"
    return f"best trial {best.number}: {value} after {reached(best)} of {format_epochs(plan.max_epochs)}{parameters}"


def closing_lines(study: optuna.Study, settings: SearchSettings, arguments: Sequence[str]) -> list[str]:
    """The best trial, and the commands that follow a search.

    Args:
        study: the study that was searched.
        settings: what the search was asked to do.
        arguments: the command's arguments; given again, they continue the study.
    """
    stands = standing(study)
    if stands is None:
        return [NO_VALUE]
    best = stands.best
    option = "" if settings.study is None and settings.space == "resnet_budget5m" else f" --study {settings.study_name}"
    option += "" if settings.storage is None else f" --storage {shlex.quote(shown_url(settings))}"
    counted = counts_of(study.get_trials(deepcopy=False))
    return [
        "",
        f"search      {best_line(study)}",
        *(f"{'':<12}{sentence}" for sentence in (verdict(stands), *level(stands), *_front(study))),
        f"trials      {counted}",
        f"files       {card_path(settings).parent / 'trials.csv'}, summary in {card_path(settings)}",
        f"page        {settings.folder / PAGE}, which opens in a browser",
        f"report      python -m search.report{option}",
        f"look        python -m search.dashboard{option}   or: optuna-dashboard {shown_url(settings)}",
        *_next(settings, best.number, option, arguments),
    ]


def _front(study: optuna.Study) -> Iterator[str]:
    """The front of a study of two objectives."""
    objective, trials = second_objective(study), front_trials(study)
    if objective is not None and trials:
        yield front_line(objective, trials, percent=stored_plan(study).train_size > 0)


def _next(settings: SearchSettings, best: int, option: str, arguments: Sequence[str]) -> Iterator[str]:
    """What to do with the best trial, and how the search goes on; nothing where all of it is done."""
    if settings.retrain:
        return
    yield f"retrain     python -m search.retrain --trial best{option}"
    model = model_folder(settings.folder, best)
    if model.exists():
        yield f"submit      python -m search.submit --model {model} --pkl FILE.pkl --out submission.csv"
    again = ["python", "-m", "search.run", *map(without_password, arguments)]
    yield f"continue    the same command again: {shlex.join(again)}"


def final_line(study: optuna.Study, outcome: Outcome) -> str:
    """The result of the final training, beside the baseline's in the search."""
    stands = standing(study)
    images = f"{format_percent(outcome.test.accuracy)} of the test images"
    line = f"final       {outcome.record.title}, trained on all {outcome.record.train_images:,} images: {images}"
    if stands is None or stands.baseline is None:
        return line
    value, epochs = format_value(value_of(stands.baseline), percent=True), reached(stands.baseline)
    return f"{line}; the baseline had {value} of the validation images after {epochs} short epochs"
