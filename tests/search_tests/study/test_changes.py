"""What changes under a study that exists is refused with what differs, or told; it is never mixed in silently."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
from optuna.trial import TrialState, create_trial

from search.engine.same_space import check_space
from search.reporting.screen.terminal import LineDisplay
from search.session import run_search
from search.settings import SearchSettings, StudyError
from search.study.attributes import CANDIDATE, PLAN, SEED
from search.study.cached_storage import CachedStorage
from search.study.optuna_internals import id_of_study, storage_of
from search.study.study import require_study
from search.study.trials import counted, reached
from spaces.base import Problem
from spaces.registry import load_space
from tests.search_tests.logged_space import logged_space, trained


def begun(workplace: Path, **changes: object) -> SearchSettings:
    """A study of three trials."""
    settings = SearchSettings(space=logged_space(workplace), max_trials=3, **changes)  # type: ignore[arg-type]
    run_search(settings)
    return replace(settings, max_trials=4)


@pytest.mark.parametrize(
    ("option", "before", "now", "held"),
    [("eta", 3, 2, 3), ("eta", None, 3, 2), ("seed", 5, 6, 5), ("seed", None, 1, 0)],
)
def test_numbers_that_a_study_began_with_stay(
    option: str, before: int | None, now: int, held: int, workplace: Path
) -> None:
    settings = begun(workplace, **{option: before})
    with pytest.raises(StudyError, match=rf"continues with the --{option} that it began with \({held}\); got {now}\."):
        run_search(replace(settings, **{option: now}))  # type: ignore[arg-type]
    assert counted(run_search(replace(settings, **{option: None})).trials) == 4  # type: ignore[arg-type]


def test_a_study_goes_on_with_its_own_seed(workplace: Path) -> None:
    space = logged_space(workplace)
    whole = run_search(SearchSettings(space=space, study="whole", max_trials=6, seed=7, pruner="none"))
    for trials in (3, 6):
        seed = 7 if trials == 3 else None
        run_search(SearchSettings(space=space, max_trials=trials, seed=seed, pruner="none"))
    study = require_study(SearchSettings(space=space))
    assert study.user_attrs[SEED] == 7
    assert [t.params for t in study.trials] == [t.params for t in whole.trials]


EDITS = [
    ('direction = "minimize"', 'direction = "maximize"', "got direction 'maximize', which was 'minimize'"),
    ("max_epochs = 8", "max_epochs = 4", "got at most 4 epochs, where the study's trials have 8"),
    ("suggest_float('x', 0, 1)", "suggest_float('y', 0, 1)", "of another candidate: ValueError: .*parameter 'y'"),
    ("suggest_float('x', 0, 1)", "suggest_float('x', 0, 1) * 2", r"of another candidate: x was 0\.\d+ and is \d\.\d+"),
]


def test_a_trial_that_was_read_while_it_was_written_is_no_edit(workplace: Path) -> None:
    settings = begun(workplace)
    study, space = require_study(settings), load_space(settings.space, Problem())
    first = study.trials[0]
    running = create_trial(
        state=TrialState.RUNNING,
        params=first.params,
        distributions=first.distributions,
        user_attrs={CANDIDATE: first.user_attrs[CANDIDATE]},
    )
    study.add_trial(running)
    storage, number = storage_of(study), id_of_study(study)
    assert isinstance(storage, CachedStorage)
    storage.refresh(number)
    storage.refresh_at[number] = math.inf
    last = list(storage.studies[number])[-1]
    half = copy.copy(storage.studies[number][last])
    half.params, half.distributions = {}, {}  # a database's tables are read one after the other
    storage.studies[number][last] = half
    check_space(study, space)
    assert storage.get_trial(last).params == first.params


@pytest.mark.parametrize(("old", "new", "told"), EDITS, ids=["direction", "epochs", "renamed", "meaning"])
def test_an_edited_space_is_refused(old: str, new: str, told: str, workplace: Path) -> None:
    settings = begun(workplace)
    before = trained(workplace)
    space = Path(settings.space)
    space.write_text(space.read_text().replace(old, new))
    with pytest.raises(StudyError, match=f"began with, but that was edited; .*{told}"):
        run_search(settings)
    assert trained(workplace) == before
    space.write_text(space.read_text().replace(new, old))
    assert counted(run_search(settings).trials) == 4


def test_a_space_that_can_train_longer_now_is_told_how_long_trials_are(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = begun(workplace)
    space = Path(settings.space)
    space.write_text(space.read_text().replace("max_epochs = 8", "max_epochs = 16"))
    study = run_search(settings, LineDisplay())
    assert "epochs      8 in full, as the study began; the space can train 16" in capsys.readouterr().out
    assert counted(study.trials) == 4
    assert max(reached(t) for t in study.trials) == 8


@pytest.mark.parametrize("old", ["suggest_float('x', 0, 1)", "yield EpochReport"])
def test_edits_that_leave_earlier_trials_what_they_are_are_allowed(old: str, workplace: Path) -> None:
    settings = begun(workplace)
    space = Path(settings.space)
    space.write_text(space.read_text().replace(old, old.replace("0, 1", "0, 0.01").replace("yield", "pass; yield")))
    assert counted(run_search(settings).trials) == 4  # a narrower range, too


def test_a_study_of_a_later_version_is_refused(workplace: Path) -> None:
    settings = begun(workplace)
    study = require_study(settings)
    study.set_user_attr(PLAN, {**study.user_attrs[PLAN], "of_tomorrow": 1})
    with pytest.raises(StudyError, match=r"of this version.*unknown keys of_tomorrow.*version that made it"):
        run_search(settings)


@pytest.mark.parametrize(
    ("option", "now", "was"),
    [("sampler", "random", "tpe"), ("pruner", "median", "promotion"), ("prior", "none", "space")],
)
def test_another_sampler_pruner_or_prior_is_told(
    option: str, now: str, was: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = begun(workplace)
    run_search(replace(settings, **{option: now}), LineDisplay())  # type: ignore[arg-type]
    line = f"{option:<12}{now} from now on; it was {was}. Earlier trials count as before"
    assert line in capsys.readouterr().out
    run_search(replace(settings, max_trials=5, **{option: now}), LineDisplay())  # type: ignore[arg-type]
    assert line not in capsys.readouterr().out
