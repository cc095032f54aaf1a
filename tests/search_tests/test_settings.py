"""Settings of a search: contradictions are refused, names follow the space."""

from __future__ import annotations

from typing import Any

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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": "spark"}, "--engine must be a known engine; got spark. One of local, ray."),
        ({"address": "auto"}, "--address needs --engine ray; got auto. Add it."),
        ({"cpus_per_trial": 2.0}, "--cpus-per-trial needs --engine ray; got 2.0. Add it."),
        ({"engine": "ray", "worker_choice": "measured"}, "Give --max-concurrent."),
        ({"engine": "ray", "address": "ray://head:10001"}, "a Ray client cannot drive a search; got ray://head:10001"),
        ({"engine": "ray", "gpus_per_trial": 1.5}, "a share of one GPU, such as 0.25, or a whole number; got 1.5"),
        ({"engine": "ray", "cpus_per_trial": 0.0}, "--cpus-per-trial must be above 0; got 0.0. Try 1."),
        ({"engine": "ray", "max_concurrent": 0}, "--max-concurrent must be 1 or more; got 0. Leave it out."),
    ],
)
def test_what_only_ray_is_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError) as raised:
        SearchSettings(**changes)
    assert message in str(raised.value)
