"""Trials that fail for reasons of their own, and searches that end because too many do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from optuna.trial import TrialState

from search.engine.exceptions import lacks_memory
from search.engine.scheduler import kind_of
from search.session import run_search
from search.settings import SearchSettings, StudyError
from search.study.attributes import REASON, RETRY_OF
from search.study.study import require_study
from search.study.trials import counted
from tests.search_tests.logged_space import logged_space, trained


@pytest.mark.parametrize("pruner", ["promotion", "none"])
def test_one_kind_of_failure_ends_the_search_whatever_it_says(pruner: str, workplace: Path) -> None:
    space = logged_space(workplace, before="raise ValueError(f'no such layer in trial {context.seed}')")
    with pytest.raises(StudyError, match="must not fail 3 times in a row; got ValueError: no such layer in trial"):
        run_search(SearchSettings(space=space, max_trials=50, pruner=pruner))
    assert len(require_study(SearchSettings(space=space)).trials) <= 4


def test_failures_of_many_kinds_end_the_search_too(workplace: Path) -> None:
    before = "kinds = (ValueError, KeyError, OSError); raise kinds[int(candidate.x * 1e6) % 3](str(candidate.x))"
    settings = SearchSettings(space=logged_space(workplace, before=before), max_trials=50, sampler="random")
    with pytest.raises(StudyError) as caught:
        run_search(settings)
    assert "times in a row" in str(caught.value) or "fewer than half" in str(caught.value)


def test_half_of_the_trials_failing_ends_the_search(workplace: Path) -> None:
    # every other trial fails, and no three in a row are of one kind
    before = (
        "n = len(list(Path('.').glob('*.begun'))); Path(f'{n}.begun').touch(); "
        "exec('if n % 2: raise [ValueError, KeyError][n // 2 % 2](n)')"
    )
    settings = SearchSettings(space=logged_space(workplace, before=before, epochs=1), max_trials=200)
    with pytest.raises(StudyError, match="fewer than half of the trials may fail; got 10 failures of 20, the last by "):
        run_search(settings)


def test_a_third_of_the_trials_may_fail(workplace: Path) -> None:
    before = (
        "n = len(list(Path('.').glob('*.begun'))); Path(f'{n}.begun').touch(); exec('if n % 3 == 2: raise ValueError')"
    )
    settings = SearchSettings(space=logged_space(workplace, before=before, epochs=1), max_trials=30)
    study = run_search(settings)
    assert counted(study.trials) == 30
    assert len(study.get_trials(states=(TrialState.FAIL,))) >= 10


@pytest.mark.parametrize("often", [1, 2])
def test_out_of_memory_puts_a_trial_back_once(often: int, workplace: Path) -> None:
    before = (
        f"n = len(list(Path('.').glob('*.full'))); full = n < {often} and (n or epoch == 3); "
        'exec(\'if full: Path(f"{n}.full").touch(); raise MemoryError("no room")\')'
    )
    settings = SearchSettings(space=logged_space(workplace, before=before), max_trials=4, pruner="none")
    study = run_search(settings)
    failed = study.get_trials(states=(TrialState.FAIL,))
    assert [t.user_attrs[REASON] for t in failed] == ["MemoryError: no room"] * often
    retried = [t for t in study.trials if RETRY_OF in t.user_attrs]
    assert len(retried) == 1
    assert retried[0].state is (TrialState.COMPLETE if often == 1 else TrialState.FAIL)
    assert retried[0].params == failed[0].params
    assert counted(study.trials) == 4


@pytest.mark.parametrize(
    ("error", "lacking"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_is_out_of_memory(error: Exception, lacking: bool) -> None:
    assert lacks_memory(error) is lacking


def test_torch_s_own_words_are_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**62, dtype=torch.uint8)
    assert lacks_memory(caught.value)


@pytest.mark.slow
def test_trials_that_hang_are_ended(workplace: Path) -> None:
    space = logged_space(workplace, before="__import__('time').sleep(1e6)")
    with pytest.raises(StudyError, match="in a row; got no epoch ended within the --trial-timeout of 1 seconds"):
        run_search(SearchSettings(space=space, trial_timeout=1))
    trials = require_study(SearchSettings(space=space)).trials
    assert [t.state for t in trials] == [TrialState.FAIL] * 3


@pytest.mark.slow
def test_a_search_goes_on_without_a_trial_that_hangs(workplace: Path) -> None:
    hang = (
        "go_on = epoch < 3 or Path('hung').exists(); "
        "go_on or Path('hung').touch(); __import__('time').sleep(0 if go_on else 1e6)"
    )
    settings = SearchSettings(space=logged_space(workplace, before=hang), max_trials=3, trial_timeout=60, pruner="none")
    study = run_search(settings)
    (failed,) = study.get_trials(states=(TrialState.FAIL,))
    assert failed.user_attrs[REASON] == "no epoch ended within the --trial-timeout of 60 seconds"
    assert counted(study.trials) == 3
    assert set(trained(workplace).values()) == {1}


@pytest.mark.parametrize("reason", ["ValueError: no layer 3: none", "ValueError: ", "ValueError: 7"])
def test_kinds_of_failures(reason: str) -> None:
    assert kind_of(reason) == "ValueError"


def test_a_timeout_is_for_this_machine() -> None:
    with pytest.raises(StudyError, match="--trial-timeout is for processes on this machine"):
        SearchSettings(engine="ray", trial_timeout=60)
