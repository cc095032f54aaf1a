"""Which prior a study has: its space's, none, or the best trial of an earlier study."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.cli import run_command
from search.engine.sources import Source
from search.run import main
from search.session import run_search
from search.settings import SearchSettings, StudyError
from search.study.attributes import CONTINUES, PRIOR, PROPOSED_BY, WARM_START
from search.study.prior import prior_of
from search.study.study import find_study
from search.study.trials import ranked
from spaces.base import Prior, Problem
from spaces.multi_limit import LIMIT, MultiLimitSpace
from spaces.registry import load_space
from spaces.resnet_budget5m import BASE_RECIPE, ResNetSpace
from tests.search_tests.logged_space import logged_space

PRIOR_OF_SPACE = """
from spaces.base import Prior

def prior(self, passes):
    return Prior({'x': 0.25, 'unused': 1}, {'x': 0.05})

Logged.prior = prior
"""


@pytest.fixture
def plain(workplace: Path) -> str:
    """A space without a prior."""
    return logged_space(workplace, epochs=4)


@pytest.fixture
def informed(workplace: Path) -> str:
    """The same space with a prior."""
    text = Path(logged_space(workplace, epochs=4)).read_text()
    path = workplace / "informed.py"
    path.write_text(text + PRIOR_OF_SPACE)
    return str(path)


def test_a_new_study_has_the_prior_of_its_space(informed: str, plain: str) -> None:
    study = run_search(SearchSettings(space=informed, max_trials=8))
    assert study.user_attrs[PRIOR] == {"name": "space"}
    near = [t.params["x"] for t in study.trials if t.user_attrs[PROPOSED_BY] == Source.PRIOR]
    assert near
    assert all(abs(x - 0.25) < 0.25 for x in near)
    assert not any(PROPOSED_BY in t.user_attrs for t in run_search(SearchSettings(space=plain, max_trials=4)).trials)


def test_none_is_a_prior_too_and_a_study_keeps_it(informed: str) -> None:
    settings = SearchSettings(space=informed, max_trials=6, prior="none")
    run_search(settings)
    study = run_search(SearchSettings(space=informed, max_trials=10))
    assert study.user_attrs[PRIOR] == {"name": "none"}
    assert not any(PROPOSED_BY in t.user_attrs for t in study.trials)
    before = len(study.trials)
    again = run_search(SearchSettings(space=informed, max_trials=14, prior="space"))
    new = [t for t in again.trials[before:] if CONTINUES not in t.user_attrs]
    assert len(new) == 4
    assert all(PROPOSED_BY in t.user_attrs for t in new)


def test_the_best_trial_of_an_earlier_study_is_the_prior(plain: str) -> None:
    earlier = run_search(SearchSettings(space=plain, study="earlier", max_trials=8))
    best = ranked(earlier)[0]
    study = run_search(SearchSettings(space=plain, study="later", max_trials=8, prior="study:earlier"))
    held = {"name": "study:earlier", "trial": best.number, "point": best.params, "attributes": {}}
    assert study.user_attrs[PRIOR] == held
    assert study.trials[0].params == best.params
    assert study.trials[0].user_attrs[WARM_START] == f"trial {best.number} of earlier"
    assert {t.user_attrs.get(PROPOSED_BY) for t in study.trials[1:]} >= {Source.PRIOR}
    Path("studies/earlier/study.db").unlink()
    assert len(run_search(SearchSettings(space=plain, study="later", max_trials=10)).trials) >= 10


def test_another_study_replaces_the_point_and_keeps_the_spreads(informed: str) -> None:
    run_search(SearchSettings(space=informed, study="earlier", max_trials=4))
    study = run_search(SearchSettings(space=informed, study="later", max_trials=1, prior="study:earlier"))
    found = prior_of(study, load_space(informed, Problem()), 4.0)
    assert found == Prior({"x": study.trials[0].params["x"], "unused": 1}, {"x": 0.05})


def test_limits_share_what_their_priors_agree_on() -> None:
    several = MultiLimitSpace({n: ResNetSpace(Problem(param_budget=n)) for n in (600_000, 5_000_000)})
    own, shared = ResNetSpace(Problem()).prior(1.0), several.prior(1.0)
    assert own is not None
    assert shared is not None
    assert (
        {"fast_used_share"}
        <= own.point.keys() - shared.point.keys()
        <= {"fast_used_share", "blocks_1", "blocks_2"} | {"blocks_3"}
    )
    assert LIMIT not in shared.point
    assert own.spread == shared.spread


def test_our_own_prior_is_the_base_recipe_and_loosens_with_the_length_of_the_run() -> None:
    space = ResNetSpace(Problem())
    start, short, middle, long = space.warm_starts()[0], space.prior(1.0), space.prior(30.0), space.prior(300.0)
    assert start.name == BASE_RECIPE
    assert short is not None
    assert middle is not None
    assert long is not None
    assert start.params.items() <= short.point.items()
    for name in ("ema_decay", "mixing", "policy", "dropout"):
        assert short.spread_of(name) < 0.05 < middle.spread_of(name) < long.spread_of(name)
    assert short == space.prior(10.0)
    assert long == space.prior(100.0)


@pytest.mark.parametrize("wrong", ["expert", "study:", "study:../up", "NONE"])
def test_a_prior_is_one_of_three(wrong: str) -> None:
    with pytest.raises(StudyError, match="--prior is space, none, or study:NAME; got"):
        SearchSettings(prior=wrong)


def test_a_study_that_does_not_exist_is_refused_before_one_is_made(
    plain: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--space", plain, "--study", "later", "--trials", "2", "--prior", "study:nowhere"]
    assert run_command(main, argv) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: the study must exist; got 'nowhere'")
    assert told.count("\n") == 1
    assert find_study(SearchSettings(study="later")) is None


@pytest.mark.parametrize("suggest", ["trial.suggest_float('y', 0, 1)", "trial.suggest_float('x', 5, 6)"])
def test_a_study_of_another_space_is_refused(suggest: str, plain: str, workplace: Path) -> None:
    run_search(SearchSettings(space=plain, study="earlier", max_trials=1))
    other = logged_space(workplace, suggest=suggest)
    with pytest.raises(StudyError, match=r"must name a study of this space.*; got its best trial, 0: .*'[xy]'"):
        run_search(SearchSettings(space=other, study="later", max_trials=1, prior="study:earlier"))


def test_a_study_without_a_value_is_refused(workplace: Path) -> None:
    space = logged_space(workplace, before="raise ValueError('broken')")
    with pytest.raises(StudyError, match="broken"):
        run_search(SearchSettings(space=space, study="failing", max_trials=3))
    with pytest.raises(StudyError, match="--prior study:failing needs a trial with a value; got none yet"):
        run_search(SearchSettings(space=space, study="later", max_trials=1, prior="study:failing"))
