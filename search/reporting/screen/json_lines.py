"""A search as JSON objects, one a line, for programs; the key `event` says what a line is.

message   text: what a person would read
started   trial, summary, parameters, macs, start: epochs trained before, replaces: the trial that goes on, or null
epoch     trial, epoch, value, seconds
note      trial, text: such as that its checkpoint is damaged
ended     trial, outcome, value, epoch, reason
result    study, trials: how many by outcome, best: trial, value, epochs, parameters, macs, or null; test: accuracy of
          the final training on the test images, or null, folder: where its files are, or null; in a study of two
          objectives front: trial, value, second of each complete trial that none dominates
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping

import optuna

from search.engine.events import EpochDone, Event, TrialNoted, TrialStarted
from search.engine.outcomes import outcomes, word
from search.retraining.final_evaluation import Outcome
from search.study.attributes import record
from search.study.objectives import front_trials, second_objective
from search.study.standing import standing
from search.study.trials import reached, value_of


def message_line(text: str) -> str:
    """What a person would read."""
    return _line("message", {"text": text})


def event_line(event: Event) -> str:
    """What happened."""
    trial = event.number
    if isinstance(event, TrialStarted):
        size = {"parameters": event.parameters, "macs": event.macs}
        before = {"start": event.start, "replaces": event.replaces}
        return _line("started", {"trial": trial, "summary": event.summary, **size, **before})
    if isinstance(event, EpochDone):
        return _line(
            "epoch", {"trial": trial, "epoch": event.epoch, "value": event.value, "seconds": round(event.seconds, 3)}
        )
    if isinstance(event, TrialNoted):
        return _line("note", {"trial": trial, "text": event.text})
    ended = {"outcome": word(event.outcome), "value": event.value, "epoch": event.epoch, "reason": event.reason}
    return _line("ended", {"trial": trial, **ended})


def result_line(study: optuna.Study, outcome: Outcome | None) -> str:
    """How a search ended."""
    stands = standing(study)
    best = None
    if stands is not None:
        trial, held = stands.best, record(stands.best)
        best = {"trial": trial.number, "value": value_of(trial), "epochs": reached(trial)}
        best |= {"parameters": held.parameters, "macs": held.macs}
    counted = Counter(word(found) for _, found in outcomes(study.get_trials(deepcopy=False)))
    test: dict[str, object] = {"test": None, "folder": None}
    if outcome is not None:
        test = {"test": outcome.test.accuracy, "folder": str(outcome.folder)}
    return _line(
        "result",
        {
            "study": study.study_name,
            "trials": dict(counted),
            "best": best,
            **test,
            **_front(study),
        },
    )


def _front(study: optuna.Study) -> dict[str, object]:
    """The front of a study of two objectives; nothing in one of one."""
    if second_objective(study) is None:
        return {}
    front = (row for row in front_trials(study) if row.on_front)
    return {"front": [{"trial": row.trial.number, "value": row.value, "second": row.second} for row in front]}


def _line(event: str, values: Mapping[str, object]) -> str:
    return json.dumps({"event": event, **values}, allow_nan=False)
