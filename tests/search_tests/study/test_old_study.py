"""A study that the flat `search/` of commit ba3a53c made opens and continues.

`study_of_one_folder.sql` is its database as text: `--trials 6`, killed in an epoch; `--epoch-budget 6`; `--trials 9`,
killed again. It holds trials in every state: complete, paused and closed, paused and open, cut off in mid-epoch.
"""

from __future__ import annotations

import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from optuna.trial import TrialState

from search.cli import run_command
from search.report import main as report_main
from search.session import run_search
from search.settings import SearchSettings
from search.study.attributes import CONTINUES, REASON
from search.study.recovery import KILLED
from search.study.session_log import calls
from search.study.study import require_study
from search.study.trials import counted, distinct, reached
from tests.search_tests.logged_space import logged_space, trained

DUMP = Path(__file__).with_name("study_of_one_folder.sql")


@pytest.fixture
def old_study(workplace: Path) -> SearchSettings:
    """The study's folder, on this host, its process gone."""
    logged_space(workplace)
    (workplace / "studies/logged").mkdir(parents=True)
    with closing(sqlite3.connect(workplace / "studies/logged/study.db")) as database:
        database.executescript(DUMP.read_text().replace("HOST", socket.gethostname()))
    return SearchSettings(space="logged.py", max_trials=12)


def test_a_study_of_the_version_before_the_rooms_continues(old_study: SearchSettings, workplace: Path) -> None:
    before = require_study(old_study).trials
    assert [t.state for t in before].count(TrialState.RUNNING) == 3
    study = run_search(old_study)
    assert counted(study.trials) == len(distinct(study.trials)) == 12
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING, TrialState.FAIL))
    assert study.trials[6].intermediate_values == before[6].intermediate_values
    cut_off = study.trials[7]
    assert (cut_off.state, cut_off.user_attrs[REASON]) == (TrialState.PRUNED, KILLED)
    (resumed,) = (t for t in study.trials if t.user_attrs.get(CONTINUES) == 7)
    assert reached(resumed) >= 4
    assert set(trained(workplace).values()) == {1}
    assert {epoch for seed, epoch in trained(workplace) if seed == resumed.user_attrs["seed"]} >= {3, 4}
    assert len(calls(study)) == 4


@pytest.mark.usefixtures("old_study")
def test_its_report_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(report_main, ["--study", "logged"]) == 0
    assert "trials started" in capsys.readouterr().out
