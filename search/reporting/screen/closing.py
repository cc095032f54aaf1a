"""The last lines of a search: its best trial, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import optuna

from search.engine.kept_models import model_folder
from search.reporting.studies.standing_section import level, verdict
from search.reporting.studies.study_card import card_path
from search.retraining.candidates import final_folder
from search.settings import SearchSettings
from search.study.attributes import record
from search.study.standing import standing
from search.study.storage import shown_url
from search.study.study import stored_plan
from search.study.trials import reached


def closing_lines(study: optuna.Study, settings: SearchSettings, arguments: Sequence[str]) -> list[str]:
    """The best trial, and the commands that follow a search.

    Args:
        study: the study that was searched.
        settings: what the search was asked to do.
        arguments: the command's arguments; given again, they continue the study.
    """
    stands = standing(study)
    if stands is None:
        return ["no trial has a value yet: give it more time with the same command"]
    best, full = stands.best, stored_plan(study).max_epochs
    size = record(best).parameters
    option = "" if settings.study is None and settings.space == "resnet_budget5m" else f" --study {settings.study_name}"
    option += "" if settings.storage is None else f" --storage {shown_url(settings)}"
    return [
        "",
        f"best trial {best.number}: {best.value:.4f} after {reached(best)} of {full} epochs"
        + (f", {size:,} parameters" if size is not None else ""),
        *(f"           {sentence}" for sentence in (verdict(stands), *level(stands))),
        f"trials     {card_path(settings).parent / 'trials.csv'}, summary in {card_path(settings)}",
        f"report     python -m search.report{option}",
        f"look       python -m search.dashboard{option}   or: optuna-dashboard {shown_url(settings)}",
        *_next(settings, best.number, option),
        f"continue   the same command again: {' '.join(['python -m search.run', *arguments])}",
    ]


def _next(settings: SearchSettings, best: int, option: str) -> Iterator[str]:
    """What to do with the best trial: train it on all images, unless that is done; predict with what was kept."""
    model = model_folder(settings.folder, best)
    if settings.retrain:
        model = final_folder(settings)
    else:
        yield f"retrain    python -m search.retrain --trial best{option}"
    if model.exists():
        yield f"submit     python -m search.submit --model {model} --pkl FILE.pkl --out submission.csv"
