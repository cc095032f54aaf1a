"""Settings of a search: contradictions are refused, names follow the space."""

from __future__ import annotations

import pytest

from search.settings import SearchSettings, StudyError


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"eta": 1}, "--eta must be 2 or more; got 1"),
        ({"min_epochs": 9, "max_epochs": 3}, "--min-epochs must not exceed --max-epochs; got 9 and 3"),
        ({"sampler": "psychic"}, "--sampler must be a known sampler; got psychic"),
        ({"pruner": "shears"}, "--pruner"),
        ({"time_budget": 0.0}, "--time-budget must be longer than 0"),
        ({"study": "../up"}, "plain folder name"),
        ({"max_trials": 0}, "--trials must be 1 or more"),
        ({"val_size": 0}, "--val-size"),
        ({"workers": 0}, "--workers must be 1 or more; got 0"),
        ({"mac_budget": -1}, "--mac-budget must be 0 or more; got -1"),
        ({"seed": -1}, "--seed must be in 0"),
        ({"param_budgets": (5, 5)}, "--param-budget must name each limit once; got 5,5"),
    ],
)
def test_contradictory_settings_are_refused(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(StudyError, match=words):
        SearchSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("space", "name"),
    [("resnet_budget5m", "resnet_budget5m"), ("mine/curves.py", "curves"), ("pkg.mod:thing", "thing")],
)
def test_studies_are_named_after_their_space(space: str, name: str) -> None:
    assert SearchSettings(space=space).study_name == name


def test_contradictory_limits_are_refused() -> None:
    with pytest.raises(StudyError, match="must be 1 or more; got 5,0"):
        SearchSettings(param_budgets=(5, 0))
    with pytest.raises(StudyError, match="only one of the two can be given; got 7 and 5,9"):
        SearchSettings(param_budget=7, param_budgets=(5, 9))
