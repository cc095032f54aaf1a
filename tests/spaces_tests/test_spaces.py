"""The contract of every space: proposals keep the limits, can be decoded again, and the sampler sees what counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import BaseTrial, FixedTrial

from cifar.candidate import Candidate
from cifar.errors import InfeasibleError
from cifar.networks.complexity import Cost
from cifar.networks.fast_resnet import FastResNetConfig
from cifar.networks.resnet import ResNetConfig
from cifar.optim import build_optimizer
from cifar.recipe import recipe_names
from cifar.resizing import require_any_size
from spaces.base import OwnCandidate, Problem, Proposal, SearchSpace, SpaceError, can_resume, propose
from spaces.registry import BUILT_IN, load_space
from spaces.resnet_budget5m import BASE_RECIPE, RECIPE_ATTRIBUTE, ResNetSpace
from spaces.width import Limits, round_width, widest

PROBLEMS = [
    Problem(),
    Problem(param_budget=300_000),
    Problem(mac_budget=25_000_000),
    Problem(num_classes=4, image_size=16, param_budget=60_000, mac_budget=8_000_000),
]


def proposals(space: SearchSpace, count: int, seed: int = 0) -> Iterator[tuple[optuna.Trial, Candidate]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(count):
        trial = study.ask()
        candidate = space.suggest(trial)
        assert isinstance(candidate, Candidate)
        yield trial, candidate


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_proposal_keeps_the_limits(name: str, problem: Problem) -> None:
    space = load_space(name, problem)
    for _, candidate in proposals(space, 25):
        assert candidate.cost.parameters <= (space.param_budget or 0)
        assert space.mac_budget is None or candidate.cost.macs <= space.mac_budget
        network = candidate.network
        assert isinstance(network, ResNetConfig | FastResNetConfig)
        assert (network.num_classes, network.image_size) == (problem.num_classes, problem.image_size)


@pytest.mark.parametrize("name", BUILT_IN)
def test_parameters_alone_give_the_same_candidate_again(name: str) -> None:
    space = load_space(name, Problem())
    for trial, candidate in proposals(space, 15):
        assert space.suggest(FixedTrial(trial.params)) == candidate


def test_proposals_fill_most_of_their_share_of_the_limit() -> None:
    space = ResNetSpace(Problem())
    shares = []
    for trial, candidate in proposals(space, 120):
        fast = trial.params["design"] == "fast"
        target = 5_000_000 * (trial.params["fast_used_share"] if fast else 1 - trial.params["unused_share"])
        assert candidate.cost.parameters <= target + 1
        assert candidate.cost.parameters > 0.75 * target or target < 500_000  # widths are multiples of 8
        if not fast:
            shares.append(candidate.cost.parameters / 5_000_000)
    assert sorted(shares)[len(shares) // 2] > 0.7


@pytest.mark.parametrize(
    ("problem", "blocks"),
    [
        (Problem(), 6),
        (Problem(param_budget=300_000), 4),
        (Problem(mac_budget=36_000_000), 3),
        (Problem(param_budget=30_000), 1),
    ],
)
def test_depth_is_bounded_by_the_limits(problem: Problem, blocks: int) -> None:
    assert ResNetSpace(problem).max_blocks == blocks


def test_proposals_are_conditional() -> None:
    for trial, candidate in proposals(ResNetSpace(Problem()), 60):
        fast = isinstance(candidate.network, FastResNetConfig)
        assert ("fast_convolutions" in trial.params) == fast == ("stages" not in trial.params)
        assert ("blocks_4" in trial.params) == (trial.params.get("stages") == 4)
        name = candidate.recipe.optimizer.name
        assert [key for key in trial.params if key.endswith("_lr")] == [f"{name}_lr"]
        assert ("cutout_pixels" in trial.params) == (candidate.recipe.augmentation.cutout > 0)
        assert ("mixing_probability" in trial.params) == candidate.recipe.augmentation.mixes


def test_every_proposal_can_be_trained() -> None:
    """Also with the small images of progressive resizing, and by every optimizer."""
    seen = set()
    for _, candidate in proposals(ResNetSpace(Problem(4, 16, 30_000)), 60):
        network = candidate.network.build()
        require_any_size(network, candidate.recipe, 16)
        build_optimizer(network, candidate.recipe.optimizer)
        seen.add((candidate.network.kind, candidate.recipe.optimizer.name, candidate.recipe.resolution_start < 1))
    assert {kind for kind, _, _ in seen} == {"resnet", "fast_resnet"}
    assert {name for _, name, _ in seen} == {"sgd", "adam", "adamw", "muon"}
    assert {small for _, _, small in seen} == {True, False}


def test_large_batches_scale_the_rate_of_sgd_alone() -> None:
    for trial, candidate in proposals(ResNetSpace(Problem()), 60):
        name, batch = candidate.recipe.optimizer.name, candidate.recipe.batch_size
        assert batch == trial.params["large_batch_size" if trial.params["large_batch"] else "batch_size"]
        factor = max(1, batch // 256) if name == "sgd" else 1
        assert candidate.recipe.optimizer.lr == trial.params[f"{name}_lr"] * factor


def test_images_below_sixteen_pixels_have_no_fast_networks() -> None:
    space = ResNetSpace(Problem(4, 8, 60_000))
    assert {trial.params["design"] for trial, _ in proposals(space, 20)} == {"blocks"}
    assert all(space.suggest(FixedTrial(dict(start.params))).network.kind == "resnet" for start in space.warm_starts())


@pytest.mark.parametrize("problem", PROBLEMS)
def test_our_own_start_comes_first_and_fits(problem: Problem) -> None:
    space = ResNetSpace(problem)
    base = Candidate.named(BASE_RECIPE).for_data(problem.num_classes, problem.image_size)
    first, second = (space.suggest(FixedTrial(dict(start.params))) for start in space.warm_starts()[:2])
    if space.limits.allow(base.cost):
        assert first == base  # in its own size
    else:
        assert (first.network.kind, first.recipe) == ("fast_resnet", base.recipe)
        assert 0.5 < space.limits.share_of(first.cost) <= 1
    assert 0.5 < space.limits.share_of(second.cost) <= 1


@pytest.mark.parametrize("name", ["resnet24_budget5m", "resnet_3_5_3", "resnet_16_32_64"])
def test_reference_recipes_decode_to_the_very_same_candidate(name: str) -> None:
    space = ResNetSpace(Problem())
    start = next(s for s in space.warm_starts() if s.name == name)
    trial = FixedTrial(dict(start.params))
    trial.set_user_attr(RECIPE_ATTRIBUTE, name)
    assert space.suggest(trial) == Candidate.named(name)


def test_recipes_above_a_limit_are_not_warm_starts() -> None:
    space = ResNetSpace(Problem(param_budget=300_000))
    names = {start.name for start in space.warm_starts()}
    assert "resnet_16_32_64" in names
    assert "resnet24_budget5m" not in names
    assert "resnet24_budget5m" in recipe_names()
    with pytest.raises(InfeasibleError, match=r"at most 300,000 parameters.*4,916,284.*reference only"):
        space.encode(Candidate.named("resnet24_budget5m"))


@pytest.mark.parametrize("limits", [{"param_budget": 2_000}, {"mac_budget": 1_000_000}])
def test_impossible_limits_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(InfeasibleError, match="this space needs limits of at least"):
        ResNetSpace(Problem(**limits))


@given(st.integers(20_000, 6_000_000), st.one_of(st.none(), st.integers(3_000_000, 10**9)), st.integers(0, 2**31))
@settings(max_examples=40)
def test_any_limit_that_is_accepted_is_kept(parameters: int, macs: int | None, seed: int) -> None:
    space = ResNetSpace(Problem(param_budget=parameters, mac_budget=macs))
    for _, candidate in proposals(space, 2, seed):
        assert Limits(parameters, macs).allow(candidate.cost)


@given(st.floats(0, 2000), st.floats(0, 2000), st.sampled_from((1, 8, 16)))
def test_rounded_widths_never_fall(a: float, b: float, multiple: int) -> None:
    low, high = sorted((a, b))
    assert 4 <= round_width(low, multiple) <= round_width(high, multiple)
    assert round_width(high, multiple) % (multiple if high >= multiple else min(multiple, 4)) == 0


def test_widest_is_the_widest() -> None:
    def build(scale: float) -> ResNetConfig:
        channels = tuple(round_width(scale * ratio, 1) for ratio in (1, 2, 4))
        return ResNetConfig(blocks=(3, 4, 3), channels=channels, stem=channels[0])

    found = widest(build, Limits(5_000_000), 1.0)
    assert found.cost().parameters <= 5_000_000 < build(found.channels[0] + 1).cost().parameters
    assert found.cost().parameters > 4_950_000


def test_space_by_attribute_and_by_file(tmp_path: Path) -> None:
    assert isinstance(load_space("spaces.resnet_budget5m:ResNetSpace", Problem()), ResNetSpace)
    file = tmp_path / "mine.py"
    file.write_text("from spaces.resnet_budget5m import ResNetSpace\nspace = ResNetSpace\n")
    assert load_space(str(file), Problem(param_budget=400_000)).param_budget == 400_000


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("resnet_budget6m", r"a built-in name \(resnet_budget5m"),
        ("nowhere.at_all:space", "must be importable"),
        ("spaces.base:nothing", "must define 'nothing'"),
        ("spaces.base:SpaceError", "must be callable with a Problem"),
        (
            "cifar.candidate:Candidate",
            r"must be a SearchSpace.*; got Candidate from .*Subclass spaces\.base",
        ),
        ("cifar.recipe:RECIPES_FOLDER", "must be a SearchSpace"),
        ("no/such/file.py", "file must exist"),
    ],
)
def test_wrong_references_are_refused(reference: str, words: str) -> None:
    with pytest.raises(SpaceError, match=words):
        load_space(reference, Problem())


def test_broken_file_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("import nothing_like_this\n")
    with pytest.raises(SpaceError, match=r"broken\.py must run without errors; got ModuleNotFoundError"):
        load_space(str(file), Problem())


DUCK = """
class Duck:
    param_budget = mac_budget = max_epochs = None
    def suggest(self, trial): return trial.suggest_int("x", 0, 9)
    def train(self, candidate, context): yield candidate
"""
INCOMPLETE = """
from spaces.base import SearchSpace
class Incomplete(SearchSpace):
    pass
"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (DUCK + "space = Duck()\n", r"must be a SearchSpace.*got Duck from .*Subclass spaces\.base\.SearchSpace"),
        (DUCK + "space = Duck\n", "must be callable with a Problem"),
        (DUCK + "space = lambda problem: Duck()\n", r"must be a SearchSpace.*got Duck from .*Subclass"),
        (INCOMPLETE + "space = Incomplete()\n", "must run without errors; got TypeError: Can't instantiate abstract"),
        (
            INCOMPLETE + "space = lambda problem: Incomplete()\n",
            "must be callable with a Problem; got TypeError",
        ),
    ],
)
def test_what_is_no_search_space_is_refused_in_one_line(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(SpaceError, match=words) as caught:
        load_space(str(tmp_path / "mine.py"), Problem())
    assert "\n" not in str(caught.value)


# ---- candidates


@dataclass(frozen=True)
class Row(OwnCandidate):
    index: int
    scale: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Sized(OwnCandidate):
    def __init__(self, parameters: int) -> None:
        self.cost = Cost(parameters, 0)

    def to_dict(self) -> dict[str, Any]:
        return {}


class Bare:
    def to_dict(self) -> dict[str, Any]:
        return {}


class Rows(SearchSpace):
    uses_images = False

    def __init__(self, candidate: Any) -> None:
        self.candidate = candidate

    def suggest(self, trial: BaseTrial) -> Proposal:
        made: Proposal = self.candidate
        return made


def test_a_candidate_of_your_own_needs_a_json_form_only() -> None:
    row = Row(3, 1 / 3)
    assert (row.cost, row.summary) == (None, "Row(index=3, scale=0.3333)")
    assert Sized(7).cost == Cost(7, 0)


@pytest.mark.parametrize("candidate", [Row(3), Sized(7), Candidate(), Candidate.named("baseline_cnn")])
def test_candidates_are_proposals(candidate: Proposal) -> None:
    assert propose(Rows(candidate), FixedTrial({})) is candidate
    assert candidate.summary


@pytest.mark.parametrize("candidate", [Bare(), {"index": 3}, None])
def test_what_is_no_candidate_is_refused(candidate: object) -> None:
    with pytest.raises(SpaceError, match=r"to_dict\(\), cost and summary; got .*subclass spaces\.base\.OwnCandidate"):
        propose(Rows(candidate), FixedTrial({}))


def test_the_default_training_resumes_unless_the_space_says_otherwise() -> None:
    space = Rows(Row(1))
    assert can_resume(space)
    space.resumable = False
    assert not can_resume(space)
