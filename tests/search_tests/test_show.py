"""Studies and trials in the terminal."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from search.engine.outcomes import counts_of
from search.planning.description import describe_rungs
from search.session import run_search
from search.settings import SearchSettings, StudyError
from search.show import main
from search.study.study import stored_plan


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def contents(folder: Path) -> dict[Path, bytes]:
    """All files but those that SQLite keeps beside a database that is open."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files if not path.name.endswith(("-wal", "-shm"))}


def test_a_study_and_its_trials(curves: str, wide: None, capsys: pytest.CaptureFixture[str]) -> None:
    study = run_search(SearchSettings(space=curves, max_trials=4, sampler="random"))
    before = contents(Path())
    main(["--study", "curves"])
    assert contents(Path()) == before
    shown = capsys.readouterr().out
    assert f"trials      {counts_of(study.trials)}" in shown
    assert "Row(index=" in shown
    assert describe_rungs(stored_plan(study)) in shown
    best = study.best_trial
    main(["--study", "curves", "--trial", str(best.number)])
    shown = capsys.readouterr().out
    assert shown.startswith(f"Trial {best.number}\n")
    assert f"Row(index={best.params['row']})" in shown
    assert "complete: full length" in shown
    lines = [line.split() for line in shown.splitlines()]
    assert [line for line in lines if line[:1] == ["9"]] == [["9", f"{best.value:.5g}"]]
    assert ["row", str(best.params["row"])] in lines
    main(["--study", "curves", "--trial", "top-2"])
    assert capsys.readouterr().out.count("Trial ") == 2
    with pytest.raises(StudyError, match="--trial must be one of"):
        main(["--study", "curves", "--trial", "99"])


def test_the_list_of_studies(curves: str, wide: None, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--list"])
    assert "There is no study yet" in capsys.readouterr().out
    study = run_search(SearchSettings(space=curves, study="first", max_trials=1))
    optuna.create_study(study_name="of/another", storage="sqlite:///studies/first/study.db")
    Path("studies/empty").mkdir()
    main(["--list"])
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["study", "trials", "best", "on", "disk"]
    assert row.split()[:5] == ["first", "1", "trial:", "1", "complete"]
    assert f"{study.best_value:.5g}" in row
    assert row.endswith("MB")
    main(["--list", "--storage", "sqlite:///studies/first/study.db"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == ["first", "of/another"]
