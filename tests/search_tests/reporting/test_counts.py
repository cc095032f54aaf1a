"""A study has one number of trials: in the table, the closing lines, the card, the report and trials.csv."""

from __future__ import annotations

import io
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState, create_trial

from search.engine.driver import SearchRequest
from search.engine.engine import Engine, LocalEngine
from search.engine.events import EpochDone, Event, TrialOutcome
from search.engine.outcomes import counts_of, outcomes
from search.reporting.screen.closing import closing_lines
from search.reporting.screen.terminal import LineDisplay
from search.reporting.studies.study_report import study_report
from search.session import run_search
from search.settings import SearchSettings
from search.study.attributes import CONTINUES, PAUSED, RETRY_OF, SUMMARY


class Interrupted(Engine):
    """This machine's engine, stopped by Ctrl-C in the first epoch of a trial's first job."""

    def run(self, request: SearchRequest, emit: object) -> None:
        def stop(event: Event) -> None:
            if isinstance(event, EpochDone) and event.epoch == 1 and event.number == 2:
                raise KeyboardInterrupt

        LocalEngine().run(request, stop)


def test_a_continued_study_has_one_count_everywhere(curves: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_search(SearchSettings(space=curves, max_trials=5, sampler="random"), engine=Interrupted())
    for most in (5, 9):
        settings, stream = SearchSettings(space=curves, max_trials=most, sampler="random"), io.StringIO()
        display = LineDisplay(stream)
        study = run_search(settings, display)
    counted = counts_of(study.trials)
    assert any(CONTINUES in trial.user_attrs for trial in study.trials)
    assert any(trial.state is TrialState.FAIL for trial in study.trials)
    assert "failed" not in counted
    assert "paused" in counted
    assert display.board.counts() == counted
    rows = [row for row in display.board.rows.values() if row.outcome is not TrialOutcome.REPEATED]
    assert [row for row in rows if not row.summary.startswith("Row(")] == []
    assert f"trials      {counted}" in closing_lines(study, settings, [])
    assert f"| trials | {counted} |" in (settings.folder / "README.md").read_text()
    assert study_report(study, settings.folder).counts == counted
    table = pd.read_csv(Path("studies/curves/trials.csv"))
    assert f"{len(table)} trials: " in counted
    assert list(table["number"]) == sorted(display.board.rows)


def test_a_trial_that_is_tried_again_counts_once() -> None:
    study = optuna.create_study()

    def add(state: TrialState, **attributes: object) -> None:
        value = 1.0 if state is TrialState.COMPLETE else None
        study.add_trial(create_trial(state=state, value=value, user_attrs={SUMMARY: "a", **attributes}))

    add(TrialState.FAIL)
    add(TrialState.WAITING, **{RETRY_OF: 0})
    assert [outcome for _, outcome in outcomes(study.trials)] == [TrialOutcome.QUEUED]
    study.tell(study.ask().number, 1.0)
    assert counts_of(study.trials) == "1 trial: 1 complete"
    add(TrialState.PRUNED, **{PAUSED: 2})
    add(TrialState.RUNNING, **{CONTINUES: 2, PAUSED: 0})
    assert counts_of(study.trials) == "2 trials: 1 complete, 1 running"
    add(TrialState.FAIL)
    assert counts_of(study.trials) == "3 trials: 1 complete, 1 running, 1 failed"
