"""Proposals around a prior: drawn again from the same seeds, better with a good prior, not lost with a wrong one."""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import optuna
import pytest
from optuna.trial import BaseTrial

from search.engine.driver import SearchRequest
from search.engine.engine import run_inline
from search.engine.sources import Source
from search.planning.planner import plan_without_images
from search.settings import SearchSettings
from search.study.attributes import PROPOSED_BY
from search.study.trials import distinct, reached
from spaces.base import EpochReport, OwnCandidate, Prior, Problem, SearchSpace, TrialContext

NUMBERS, SWITCHES, EPOCHS = 8, 4, 8
BEST = 0.7


class Point(OwnCandidate):
    def __init__(self, params: dict[str, Any], loss: float) -> None:
        self.params, self.loss = params, loss

    def to_dict(self) -> dict[str, Any]:
        return self.params


class Bowl(SearchSpace):
    """A bowl of several numbers, and switches that do harm, each with a number of its own; early values are noisy."""

    direction = "minimize"
    uses_images = False
    max_epochs = EPOCHS
    resumable = True

    def __init__(self, prior: Prior | None) -> None:
        self.known = prior

    def prior(self, passes: float) -> Prior | None:
        assert passes == EPOCHS
        return self.known

    def suggest(self, trial: BaseTrial) -> Point:
        params: dict[str, Any] = {f"x{i}": trial.suggest_float(f"x{i}", 0, 1) for i in range(NUMBERS)}
        loss = sum((x - BEST) ** 2 for x in params.values())
        for i in range(SWITCHES):
            params[f"on{i}"] = trial.suggest_categorical(f"on{i}", (False, True))
            if params[f"on{i}"]:
                params[f"strength{i}"] = trial.suggest_float(f"strength{i}", 0, 1)
                loss += 0.1 + 0.1 * params[f"strength{i}"]
        return Point(params, loss)

    def train(self, candidate: Point, context: TrialContext) -> Iterator[EpochReport]:
        for epoch in range(context.epochs_done + 1, context.fidelity + 1):
            noise = random.Random(f"{context.seed} {epoch}").gauss(0, 0.2 * (1 - epoch / EPOCHS))
            yield EpochReport(epoch, candidate.loss + 1 / epoch + noise)


GOOD = Prior({f"x{i}": 0.8 for i in range(NUMBERS)} | {f"on{i}": False for i in range(SWITCHES)})
WRONG = Prior({f"x{i}": 0.1 for i in range(NUMBERS)} | {f"on{i}": True for i in range(SWITCHES)})


def searched(prior: Prior | None, full_trials: int, seed: int = 0, **changes: Any) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="minimize")
    continued(study, prior, full_trials, seed, **changes)
    return study


def continued(study: optuna.Study, prior: Prior | None, full_trials: int, seed: int = 0, **changes: Any) -> None:
    space, settings = Bowl(prior), SearchSettings(space="bowl", seed=seed, **changes)
    plan = plan_without_images(settings, space)
    request = SearchRequest(settings, plan, Problem(), time.monotonic, max_epochs=full_trials * EPOCHS)
    run_inline(study, space, request, lambda event: None)


def loss_found(study: optuna.Study) -> float:
    """The noiseless loss of the best trial at the highest rung."""
    best = min(distinct(study.trials), key=lambda t: (-reached(t), t.intermediate_values[reached(t)]))
    return best.intermediate_values[EPOCHS] - 1 / EPOCHS


def sources(study: optuna.Study) -> Counter[str]:
    return Counter(t.user_attrs[PROPOSED_BY] for t in study.trials if PROPOSED_BY in t.user_attrs)


def mean_loss(prior: Prior | None, full_trials: int) -> float:
    return statistics.mean(loss_found(searched(prior, full_trials, seed)) for seed in range(3))


def test_a_good_prior_helps_and_a_wrong_one_is_recovered_from() -> None:
    without = mean_loss(None, 20)
    assert mean_loss(GOOD, 5) < without / 2  # with a quarter of the training
    assert mean_loss(WRONG, 20) < 1.25 * without


def test_a_wrong_prior_loses_its_share() -> None:
    of = {"good": sources(searched(GOOD, 12)), "wrong": sources(searched(WRONG, 12))}
    shares = {name: found[Source.PRIOR] / found.total() for name, found in of.items()}
    assert shares["wrong"] < 0.35 < shares["good"]
    assert all(set(found) == set(Source) for found in of.values())


def test_proposals_follow_from_the_seeds_alone() -> None:
    def drawn(study: optuna.Study) -> list[dict[str, Any]]:
        return [t.params for t in study.trials]

    whole, again = searched(GOOD, 6), searched(GOOD, 3)
    continued(again, GOOD, 6)  # a budget counts all calls
    one, other = drawn(whole), drawn(again)
    first = len(drawn(searched(GOOD, 3)))
    assert one[: first // 2] == other[: first // 2]
    assert len({str(params) for params in other}) == len(other)  # nothing is drawn twice
    assert drawn(searched(GOOD, 6)) == one
    assert drawn(searched(GOOD, 6, seed=1)) != one


def test_a_space_without_a_prior_has_no_sources() -> None:
    assert not sources(searched(None, 4))


@pytest.mark.parametrize("sampler", ["random", "nsga2"])
def test_samplers_that_learn_nothing_do_as_their_names_say(sampler: str) -> None:
    assert not sources(searched(WRONG, 2, sampler=sampler))


@pytest.mark.parametrize("pruner", ["hyperband", "none"])
def test_optunas_pruners_get_the_prior_too(pruner: str) -> None:
    found = sources(searched(GOOD, 6, pruner=pruner))
    assert found[Source.PRIOR]
    assert found.total() >= 6


def test_queued_trials_are_nobodys_and_what_they_lack_lies_around_the_prior() -> None:
    study = optuna.create_study(direction="minimize")
    for _ in range(4):
        study.enqueue_trial({"x0": 0.5})
    continued(study, GOOD, 2)
    assert not any(PROPOSED_BY in t.user_attrs for t in study.trials[:4])
    assert all(PROPOSED_BY in t.user_attrs for t in study.trials[4:])
    assert {t.params["x0"] for t in study.trials[:4]} == {0.5}
    assert statistics.mean(t.params["x1"] for t in study.trials[:4]) == pytest.approx(0.8, abs=0.15)
