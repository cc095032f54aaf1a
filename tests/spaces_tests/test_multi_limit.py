"""The space of several parameter limits."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import FixedTrial

from cifar.candidate import Candidate
from cifar.errors import InfeasibleError
from spaces.base import Problem, SpaceError, can_resume
from spaces.multi_limit import LIMIT, MultiLimitSpace, space_for
from spaces.resnet_budget5m import ResNetSpace

LIMITS = (300_000, 30_000, 5_000_000)

OWN_SPACE = """
from cifar.networks.complexity import Cost
from spaces.base import EpochReport, OwnCandidate, SearchSpace

class C(OwnCandidate):
    def __init__(self, x):
        self.x, self.cost = x, Cost(int(100 * x), 1)
    def to_dict(self):
        return {"x": self.x}

class S(SearchSpace):
    uses_images, max_epochs = False, 1
    def suggest(self, trial):
        return C(trial.suggest_float("x", 0, 1))
    def train(self, candidate, context):
        yield EpochReport(1, candidate.x)

space = S()
"""


@pytest.fixture
def space() -> MultiLimitSpace:
    found = space_for("resnet_budget5m", Problem(mac_budget=20_000_000), LIMITS)
    assert isinstance(found, MultiLimitSpace)
    return found


def test_one_limit_or_none_is_the_space_itself() -> None:
    assert isinstance(space_for("resnet_budget5m", Problem()), ResNetSpace)
    assert space_for("resnet_budget5m", Problem(param_budget=40_000)).param_budget == 40_000


def test_it_offers_what_its_spaces_offer(space: MultiLimitSpace) -> None:
    single = ResNetSpace(Problem())
    assert (space.direction, space.uses_images, space.max_epochs) == (
        single.direction,
        single.uses_images,
        single.max_epochs,
    )
    assert (space.param_budget, space.mac_budget) == (5_000_000, 20_000_000)
    assert can_resume(space)


def test_a_space_with_an_own_trainer_is_no_more_resumable_than_before(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN_SPACE)
    assert not can_resume(space_for(str(tmp_path / "own.py"), Problem(), (10, 20)))


def test_a_proposal_above_its_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN_SPACE)
    space = space_for(str(tmp_path / "own.py"), Problem(), (50, 100))
    assert space.suggest(FixedTrial({LIMIT: 50, "x": 0.5})).to_dict() == {"x": 0.5}
    with pytest.raises(SpaceError, match="must propose within each, here 50; got 51 parameters"):
        space.suggest(FixedTrial({LIMIT: 50, "x": 0.51}))


def test_warm_starts_of_every_limit_come_in_turn_and_once() -> None:
    space = space_for("resnet_budget5m", Problem(), LIMITS)
    starts = space.warm_starts()
    assert [start.params[LIMIT] for start in starts[:3]] == list(LIMITS)
    named = [start.name.partition(",")[0] for start in starts if "recipe" in start.attributes]
    assert len(set(named)) == len(named)  # a recipe that fits two limits is the same candidate
    study = optuna.create_study()
    for start in starts:
        study.enqueue_trial(dict(start.params), user_attrs=dict(start.attributes))
        trial = study.ask()
        candidate = space.suggest(trial)
        assert isinstance(candidate, Candidate)
        assert candidate.cost.parameters <= start.params[LIMIT]
        assert start.params.items() >= {LIMIT: trial.params[LIMIT]}.items()


def test_a_limit_that_holds_no_network_is_refused() -> None:
    with pytest.raises(InfeasibleError, match="needs limits of at least"):
        space_for("resnet_budget5m", Problem(), (1_000, 30_000))
