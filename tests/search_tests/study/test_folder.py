"""A study's folder belongs to one study of one storage."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest

from search.report import report_study
from search.session import run_search
from search.settings import SearchSettings, StudyError
from search.study.attributes import IDENTITY
from search.study.exclusion import exclusive
from search.study.folder import OWNER, claim_folder, settle_identity
from search.study.storage import open_storage
from search.study.study import find_study

ELSEWHERE = "sqlite:///elsewhere.db"


def contents(folder: Path) -> dict[str, bytes]:
    """Files of a study's folder; Optuna may touch its database when it opens it."""
    return {path.name: path.read_bytes() for path in folder.glob("*.*") if not path.name.startswith("study.")}


def test_a_study_of_another_storage_leaves_the_folder_alone(curves: str) -> None:
    settings = SearchSettings(space=curves, max_trials=2)
    run_search(settings)
    before = contents(settings.folder)
    other = SearchSettings(space=curves, max_trials=3, storage=ELSEWHERE)
    with pytest.raises(StudyError, match=r"studies/curves to the study in .*study\.db; got sqlite:///elsewhere\.db"):
        run_search(other)
    assert contents(settings.folder) == before
    assert not Path("elsewhere.db").exists()
    run_search(SearchSettings(space=curves, max_trials=1, storage=ELSEWHERE, study="another"))
    assert len(run_search(SearchSettings(space=curves, max_trials=3)).trials) == 3


def test_the_own_database_may_be_named(curves: str) -> None:
    run_search(SearchSettings(space=curves, max_trials=2))
    named = SearchSettings(space=curves, max_trials=3, storage="sqlite:///studies/curves/../curves/study.db")
    assert len(run_search(named).trials) == 3


def test_a_folder_is_known_to_its_study_by_whatever_address(curves: str, workplace: Path) -> None:
    run_search(SearchSettings(space=curves, max_trials=1, storage=ELSEWHERE))
    for other in (SearchSettings(space=curves), SearchSettings(space=curves, storage="third.journal")):
        with pytest.raises(StudyError, match=r"of another storage; got .*remove studies/curves/\.owner"):
            run_search(other)
    same = SearchSettings(space=curves, max_trials=2, storage=f"sqlite:///{workplace}/elsewhere.db")
    assert len(run_search(same).trials) == 2


def test_a_study_made_before_folders_had_owners_keeps_its_folder(curves: str) -> None:
    settings = SearchSettings(space=curves, max_trials=1, storage=ELSEWHERE)
    run_search(settings)
    owner = settings.folder / OWNER
    owner.unlink()
    with sqlite3.connect("elsewhere.db") as connection:
        assert connection.execute("DELETE FROM study_user_attributes WHERE key = ?", [IDENTITY]).rowcount == 1
    study = run_search(settings)
    assert owner.read_text().strip() == study.user_attrs[IDENTITY]


def test_the_folder_may_be_claimed_for_a_study_that_another_call_is_making(curves: str) -> None:
    settings = SearchSettings(space=curves, max_trials=1, storage="shared.journal")
    optuna.create_study(study_name="curves", storage=open_storage(settings), direction="minimize")
    claim_folder(settings, lambda: find_study(settings))  # by the one call
    study = run_search(settings)  # by the other, which makes the rest of the study
    assert (settings.folder / OWNER).read_text().strip() == study.user_attrs[IDENTITY]


def test_of_two_calls_that_give_a_study_its_identity_one_does(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SearchSettings(study="shared", storage="shared.journal")
    study = optuna.create_study(study_name="shared", storage=open_storage(settings))
    given = []

    @contextmanager
    def late(study: optuna.Study) -> Iterator[None]:
        """The lock, which another call has had since this one has looked."""
        monkeypatch.setattr("search.study.folder.exclusive", exclusive)
        other = find_study(settings)
        assert other is not None
        given.append(settle_identity(other))
        with exclusive(study):
            yield

    monkeypatch.setattr("search.study.folder.exclusive", late)
    assert [settle_identity(study)] == given


def test_a_report_is_written_elsewhere_if_asked(curves: str, workplace: Path) -> None:
    run_search(SearchSettings(space=curves, max_trials=2, storage=ELSEWHERE))
    (Path("studies/curves") / OWNER).unlink()
    run_search(SearchSettings(space=curves, max_trials=2))
    with pytest.raises(StudyError, match="one study of one storage"):
        report_study("curves", ELSEWHERE, None)
    assert report_study("curves", ELSEWHERE, workplace / "out")
    assert not (Path("studies/curves") / OWNER).exists()
