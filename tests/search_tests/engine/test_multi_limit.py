"""Studies of several parameter limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from cifar.candidate import Candidate
from search.cli import run_command
from search.engine.samplers import use_sampler
from search.planning.plan import Plan
from search.run import main, parser
from search.session import run_search
from search.settings import SearchSettings, StudyError
from search.study.attributes import CANDIDATE
from search.study.study import require_study
from search.study.trials import counted
from spaces.base import Problem
from spaces.multi_limit import LIMIT, space_for

Settings = Callable[..., SearchSettings]
LIMITS = (300_000, 30_000, 5_000_000)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_every_proposal_keeps_its_own_limit_and_the_sampler_learns() -> None:
    """With TPE, whose model meets depths of other ranges under other limits."""
    space = space_for("resnet_budget5m", Problem(mac_budget=20_000_000), LIMITS)
    study = optuna.create_study(direction="maximize")
    use_sampler(study, SearchSettings(pruner="none"), Plan(1, 9, 3, 1000, 100, 100, None, None))
    for _ in range(40):
        trial = study.ask()
        candidate = space.suggest(trial)
        assert isinstance(candidate, Candidate)
        assert candidate.cost.parameters <= trial.params[LIMIT]
        assert candidate.cost.macs <= 20_000_000
        study.tell(trial, candidate.cost.parameters / 5e6 - trial.params["label_smoothing"])
    assert {t.params[LIMIT] for t in study.trials} == set(LIMITS)


def test_a_study_of_several_limits_continues_with_them(toy_search: Settings) -> None:
    limits = (20_000, 30_000)
    study = run_search(toy_search(param_budgets=limits, max_trials=4))
    drawn = {t.params[LIMIT] for t in study.trials}
    assert drawn == set(limits)  # the first warm start of each
    for trial in study.trials:
        cost = Candidate.from_dict(trial.user_attrs[CANDIDATE], where="trial").cost
        assert cost.parameters <= trial.params[LIMIT]
    card = Path("studies/toy/README.md").read_text()
    assert "20,000 or 30,000 parameters" in card
    assert "## Best trial within each limit" in card

    again = run_search(toy_search(max_trials=6))  # without --param-budget: as it began
    assert counted(again.trials) == 6
    assert all(t.params[LIMIT] in limits for t in again.trials)
    for wrong in ({"param_budget": 30_000}, {"param_budgets": (20_000, 25_000)}):
        with pytest.raises(StudyError, match=r"continues with the --param-budget that it began with \(20000,30000\)"):
            run_search(toy_search(max_trials=7, **wrong))


def test_a_study_of_one_limit_does_not_take_several(toy_study: SearchSettings) -> None:
    with pytest.raises(StudyError, match="continues with the --param-budget"):
        run_search(replace(toy_study, param_budgets=(20_000, 30_000)))


REJECTING = """
from cifar.networks.complexity import Cost
from spaces.base import EpochReport, OwnCandidate, SearchSpace

class C(OwnCandidate):
    def __init__(self, x): self.cost, self.x = Cost(int(100 * x), 1), x
    def to_dict(self): return {"x": self.x}

class S(SearchSpace):
    uses_images, max_epochs = False, 2
    def suggest(self, trial): return C(trial.suggest_float("x", 0.6, 1))
    def train(self, candidate, context):
        yield EpochReport(1, candidate.x)
        yield EpochReport(2, candidate.x)

space = S()
"""


def test_a_space_that_ignores_the_limit_is_told_in_one_line(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "rejecting.py").write_text(REJECTING)
    status = run_command(main, ["--space", "rejecting.py", "--param-budget", "50,100", "--trials", "20", "--quiet"])
    errors = capsys.readouterr().err
    assert status == 2
    assert errors.startswith("error: a space for several --param-budget must propose within each, here 50; got ")
    assert errors.count("\n") == 1
    study = require_study(SearchSettings(space="rejecting.py"))
    assert not study.get_trials(states=(TrialState.RUNNING,))


def test_the_option_takes_one_limit_or_several() -> None:
    assert parser().parse_args(["--param-budget", "300k"]).param_budget == (300_000,)
    assert parser().parse_args(["--param-budget", "300k,1M,5M"]).param_budget == (300_000, 1_000_000, 5_000_000)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("300k,300000", "--param-budget must name each limit once; got 300000,300000"),
        ("300k,0", "a count is a positive whole number"),
        ("300k,,1M", "a count is a positive whole number"),
    ],
)
def test_wrong_lists_are_refused_in_one_line(arguments: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = run_command(main, ["--param-budget", arguments])
    except SystemExit as stop:
        status = int(stop.code or 0)
    errors = capsys.readouterr().err
    assert (status, errors.count("\n")) == (2, 1)
    assert words in errors
