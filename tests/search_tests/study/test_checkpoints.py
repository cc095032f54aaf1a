"""Checkpoints: one a trial and epoch, in a folder that the study names, which every machine must see."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from search.engine.events import TrialNoted
from search.session import run_search
from search.settings import SearchSettings, StudyError
from search.study.attributes import CONTINUES, PAUSED, SEED
from search.study.checkpoints import (
    checkpoint_folder_of,
    checkpoint_of,
    remove_checkpoints,
    saved_checkpoint,
)
from search.study.study import require_study
from search.study.trials import is_paused, reached
from tests.search_tests.logged_space import Watched

Settings = Callable[..., SearchSettings]


def test_a_checkpoint_is_found_by_trial_and_epoch(workplace: Path) -> None:
    for seed, epoch in ((1, 2), (1, 4), (1, 16), (0x12, 2)):
        checkpoint_of(workplace, seed, epoch).touch()
    assert saved_checkpoint(workplace, 1, 2) == checkpoint_of(workplace, 1, 2)
    assert saved_checkpoint(workplace, 1, 3) is None
    (workplace / f"{7:016x}.pt").touch()  # of an earlier version
    assert saved_checkpoint(workplace, 7, 3) == workplace / f"{7:016x}.pt"
    remove_checkpoints(workplace, 1, before=4)
    assert {path.name for path in workplace.glob("*.pt")} == {
        f"{1:016x}-4.pt",
        f"{1:016x}-16.pt",  # perhaps of another call, which took the trial over
        f"{0x12:016x}-2.pt",
        f"{7:016x}.pt",
    }
    remove_checkpoints(workplace, 1)
    remove_checkpoints(workplace, 7)
    assert [path.name for path in workplace.glob("*.pt")] == [f"{0x12:016x}-2.pt"]


def paused_search(toy_search: Settings, **changes: object) -> SearchSettings:
    """Settings of a search with a paused trial."""
    settings = toy_search(max_trials=1, max_epochs=2, epoch_budget=1, train_size=64, **changes)
    run_search(settings)
    return settings


def test_a_study_continues_with_the_folder_that_it_was_given(
    toy_search: Settings, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = paused_search(toy_search, storage=f"sqlite:///{workplace}/study.db", checkpoints="shared")
    (path,) = (workplace / "shared/toy").glob("*.pt")
    (trial,) = (t for t in require_study(settings).trials if is_paused(t))
    assert path.name == f"{trial.user_attrs[SEED]:016x}-{trial.user_attrs[PAUSED]}.pt"
    elsewhere = workplace / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    study = run_search(replace(settings, checkpoints=None, epoch_budget=None))
    (resumed,) = (t for t in study.trials if CONTINUES in t.user_attrs)
    assert reached(resumed) == 2
    assert checkpoint_folder_of(study, replace(settings, checkpoints=None)) == workplace / "shared/toy"
    assert not list((workplace / "shared/toy").glob("*.pt"))  # nothing is paused any more


def test_a_machine_without_the_folder_is_told_so(toy_search: Settings, workplace: Path) -> None:
    settings = paused_search(toy_search)
    folder = settings.folder / "checkpoints"
    folder.rename(workplace / "away")
    before = require_study(settings).trials
    for given in (None, "empty"):
        with pytest.raises(StudyError, match=r"checkpoints must be there.*--checkpoints"):
            run_search(replace(settings, epoch_budget=None, checkpoints=given))
    assert require_study(settings).trials == before
    (workplace / "away").rename(folder)
    study = run_search(replace(settings, epoch_budget=None))
    assert any(reached(t) == 2 for t in study.trials)


@pytest.mark.slow
def test_a_trial_whose_checkpoint_is_gone_begins_again_and_says_so(toy_search: Settings) -> None:
    settings = paused_search(toy_search)
    (path,) = (settings.folder / "checkpoints").glob("*.pt")
    path.unlink()
    watched = Watched()
    study = run_search(replace(settings, epoch_budget=None), engine=watched)
    (note,) = (e for e in watched.events if isinstance(e, TrialNoted))
    assert note.text == "its checkpoint is not in studies/toy/checkpoints: it begins again"
    assert any(reached(t) == 2 for t in study.trials)


def test_a_folder_that_nothing_depends_on_is_made_anew(toy_search: Settings, workplace: Path) -> None:
    settings = toy_search(max_trials=1, max_epochs=1, train_size=64)
    run_search(settings)
    folder = settings.folder / "checkpoints"
    folder.rename(workplace / "away")
    assert len(run_search(replace(settings, max_trials=2)).trials) >= 2
    assert (folder / "study.json").exists()


OWN_SPACE = """
from dataclasses import asdict, dataclass
from spaces.base import EpochReport, OwnCandidate, SearchSpace

@dataclass(frozen=True)
class Number(OwnCandidate):
    x: float
    def to_dict(self):
        return asdict(self)

class Numbers(SearchSpace):
    uses_images = False
    max_epochs = 4
    def suggest(self, trial):
        return Number(trial.suggest_float("x", 0, 1))
    def train(self, candidate, context):
        for epoch in range(context.epochs_done + 1, context.fidelity + 1):
            yield EpochReport(epoch, candidate.x, save=lambda path: path.write_text("state"))

space = Numbers()
"""


def test_a_space_of_your_own_saves_to_a_folder_that_is_there(workplace: Path) -> None:
    (workplace / "numbers.py").write_text(OWN_SPACE)
    study = run_search(SearchSettings(space="numbers.py", max_trials=1, epoch_budget=1, study="own"))
    (trial,) = (t for t in study.trials if is_paused(t))
    (path,) = (workplace / "studies/own/checkpoints").glob("*.pt")
    assert path.name == f"{trial.user_attrs[SEED]:016x}-{trial.user_attrs[PAUSED]}.pt"


@pytest.mark.parametrize("saves", [True, False])
def test_what_was_saved_and_is_gone_is_trained_again_and_said(saves: bool, workplace: Path) -> None:
    text = OWN_SPACE.replace("max_epochs", "resumable = True\n    max_epochs").replace(
        "candidate.x,", "context.epochs_done,"
    )
    (workplace / "numbers.py").write_text(text if saves else re.sub(r", save=.*", ")", text))
    settings = SearchSettings(space="numbers.py", max_trials=1, epoch_budget=1, study="own")
    run_search(settings)
    for path in (workplace / "studies/own/checkpoints").glob("*.pt"):  # as on a host that does not see the folder
        path.unlink()
    watched = Watched()
    study = run_search(replace(settings, epoch_budget=1 + saves), engine=watched)
    notes = [event.text for event in watched.events if isinstance(event, TrialNoted)]
    assert notes == ["its checkpoint is not in studies/own/checkpoints: it begins again"] * saves
    (resumed,) = (t for t in study.trials if CONTINUES in t.user_attrs)
    assert resumed.intermediate_values == {1: 0.0, 2: 0.0 if saves else 1.0}  # what the job began after
