"""The sampler `surrogate`: the order of trials that it sees, what it proposes in conditional spaces, that it learns."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import BaseTrial, TrialState, create_trial

from search.engine.encoding import Encoding
from search.engine.surrogate import MOST_TRIALS, Surrogate, ordered
from spaces.base import Prior

RUNGS = (1, 2, 4)
MIXED = {
    "rate": FloatDistribution(1e-5, 1.0, log=True),
    "depth": IntDistribution(1, 9),
    "kind": CategoricalDistribution(("a", "b", "c")),
    "share": FloatDistribution(0.0, 1.0),
}


def surrogate(seed: int, startup: int = 5, prior: Prior | None = None) -> Surrogate:
    return Surrogate(seed, RUNGS, startup, prior, {})


def suggest(trial: BaseTrial) -> float:
    """A conditional space whose best point is rate = 0.01, kind b, share = 0.7."""
    rate = trial.suggest_float("rate", 1e-5, 1.0, log=True)
    trial.suggest_int("depth", 1, 9)
    kind = trial.suggest_categorical("kind", ("a", "b", "c"))
    share = trial.suggest_float("share", 0.0, 1.0) if kind == "b" else 0.0
    return (np.log10(rate) + 2) ** 2 + {"a": 1.0, "b": 0.5, "c": 2.0}[kind] + (share - 0.7) ** 2


def searched(count: int, seed: int, *, learns: bool, direction: str = "minimize") -> optuna.Study:
    """A study in which every second trial stops at the first rung."""
    study = optuna.create_study(direction=direction)
    sign = 1 if direction == "minimize" else -1
    for number in range(count):
        study.sampler = surrogate(1000 * seed + number) if learns else RandomSampler(seed=1000 * seed + number)
        trial = study.ask()
        loss = suggest(trial)
        for rung in RUNGS[: 1 if number % 2 else 3]:
            trial.report(sign * (loss + 1 / rung), rung)
        if number % 2:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, sign * (loss + 1 / RUNGS[-1]))
    return study


def test_a_higher_rung_orders_its_trials_at_the_places_that_they_hold() -> None:
    losses = [{1: 0.4, 2: 0.9}, {1: 0.1}, {}, {1: 0.2, 2: 0.3, 4: 0.2}, {1: 0.3, 2: 0.2, 4: 0.3}]
    assert ordered(losses, RUNGS) == [1, 3, 4, 0, 2]


@given(st.lists(st.dictionaries(st.sampled_from(RUNGS), st.integers(-5, 5)), min_size=1, max_size=12))
def test_every_trial_has_one_place_and_a_scale_changes_none(losses: list[dict[int, int]]) -> None:
    order = ordered(losses, RUNGS)
    assert sorted(order) == list(range(len(losses)))
    assert order == ordered([{rung: 2 * value + rung for rung, value in one.items()} for one in losses], RUNGS)


@given(
    rate=st.floats(1e-5, 1.0),
    depth=st.integers(1, 9),
    kind=st.sampled_from("abc"),
    absent=st.sets(st.sampled_from(sorted(MIXED))),
)
def test_parameters_survive_being_rows(rate: float, depth: int, kind: str, absent: set[str]) -> None:
    encoding = Encoding(MIXED)
    params: dict[str, Any] = {"rate": rate, "depth": depth, "kind": kind, "share": 0.25}
    params = {name: value for name, value in params.items() if name not in absent}
    back = encoding.params(encoding.row(params))
    assert back == {**params, **({"rate": pytest.approx(rate)} if "rate" in params else {})}
    assert np.isfinite(encoding.columns(encoding.row(params)[None])).all()


def test_two_choices_are_as_far_apart_as_the_ends_of_a_range() -> None:
    encoding = Encoding(MIXED)
    usual = {"rate": 1e-5, "depth": 5, "kind": "a", "share": 0.0}
    rows = np.array([encoding.row(usual), encoding.row({**usual, "kind": "c"}), encoding.row({**usual, "share": 1.0})])
    points = encoding.columns(rows)
    assert np.linalg.norm(points[1] - points[0]) == pytest.approx(1)
    assert np.linalg.norm(points[2] - points[0]) == pytest.approx(1)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_it_finds_better_candidates_than_chance_does(direction: str) -> None:
    def late(learns: bool) -> float:
        studies = [searched(30, seed, learns=learns, direction=direction) for seed in range(3)]
        return statistics.fmean(suggest(optuna.trial.FixedTrial(t.params)) for s in studies for t in s.trials[15:])

    assert late(learns=True) < 0.5 * late(learns=False)


def test_the_same_trials_and_seed_give_the_same_proposal() -> None:
    proposals = []
    for seed in (1, 1, 2):
        study = searched(12, 0, learns=True)
        study.sampler = surrogate(seed)
        trial = study.ask()
        suggest(trial)
        proposals.append(trial.params)
    assert proposals[0] == proposals[1] != proposals[2]


def test_before_it_can_learn_it_proposes_around_the_prior() -> None:
    prior = Prior({"rate": 0.5, "depth": 3, "kind": "c"}, other_spread=0.0)
    study = optuna.create_study(sampler=surrogate(0, prior=prior))
    trial = study.ask()
    suggest(trial)
    assert trial.params == {"rate": 0.5, "depth": 3, "kind": "c"}


def test_it_learns_from_many_trials_and_from_lost_and_running_ones() -> None:
    study = optuna.create_study()
    generator = np.random.default_rng(0)
    for number in range(MOST_TRIALS + 10):
        params = {"rate": float(generator.uniform(1e-5, 1)), "depth": 2, "kind": "a"}
        held = {name: MIXED[name] for name in params}
        reached = {1: params["rate"]} if number % 3 else {}
        state = TrialState.PRUNED if reached or number % 2 else TrialState.RUNNING
        study.add_trial(create_trial(state=state, params=params, distributions=held, intermediate_values=reached))
    study.sampler = surrogate(0)
    trial = study.ask()
    suggest(trial)
    assert trial.params["rate"] < 0.2


def test_a_mixture_takes_it_for_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    from search.engine import samplers
    from search.planning.planner import plan_without_images
    from search.settings import SearchSettings
    from spaces.base import SearchSpace

    class Space(SearchSpace):
        def suggest(self, trial: BaseTrial) -> Any:
            raise NotImplementedError

    settings = SearchSettings(space="any", max_epochs=4)
    study = optuna.create_study()
    samplers.use_sampler(study, settings, plan_without_images(settings, Space()), Prior({"rate": 0.1}))
    assert isinstance(study.sampler, samplers.FreshSampler)
    assert study.sampler.mixture is not None
    model: BaseSampler = study.sampler.mixture.model(0)
    assert isinstance(model, Surrogate)
    assert model.prior == Prior({"rate": 0.1})
