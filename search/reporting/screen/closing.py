"""The last lines of a search: its best trial, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence

import optuna

from search.reporting.studies.study_card import card_path
from search.settings import SearchSettings
from search.study.attributes import record
from search.study.storage import shown_url
from search.study.study import stored_plan
from search.study.trials import ranked, reached


def closing_lines(study: optuna.Study, settings: SearchSettings, arguments: Sequence[str]) -> list[str]:
    """The best trial, and the commands that follow a search.

    Args:
        study: the study that was searched.
        settings: what the search was asked to do.
        arguments: the command's arguments; given again, they continue the study.
    """
    trials = ranked(study)
    if not trials:
        return ["no trial has a value yet: give it more time with the same command"]
    best, full = trials[0], stored_plan(study).max_epochs
    size = record(best).parameters
    option = "" if settings.study is None and settings.space == "resnet_budget5m" else f" --study {settings.study_name}"
    option += "" if settings.storage is None else f" --storage {shown_url(settings)}"
    return [
        "",
        f"best trial {best.number}: {best.value:.4f} after {reached(best)} of {full} epochs"
        + (f", {size:,} parameters" if size is not None else ""),
        f"trials     {card_path(settings).parent / 'trials.csv'}, summary in {card_path(settings)}",
        f"report     python -m search.report{option}",
        f"look       python -m search.dashboard{option}   or: optuna-dashboard {shown_url(settings)}",
        f"retrain    python -m search.retrain --trial best{option}",
        f"continue   the same command again: {' '.join(['python -m search.run', *arguments])}",
    ]
