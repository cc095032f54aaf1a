"""Searches of two objectives: on any engine, with and without pruning, interrupted, continued and repeated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState

from search.engine.engine import Engine
from search.engine.promotion import Promote, Promotion, Status, TrialView, best_first
from search.engine.sources import evidence
from search.reporting.studies.study_report import study_report
from search.session import run_search
from search.settings import SearchSettings, StudyError
from search.study.attributes import LATENCY, OBJECTIVES, PARAMETERS, PAUSED, PROPOSED_BY, REASON, REPEAT_OF
from search.study.fronts import Point, non_dominated
from search.study.objectives import front_trials, second_objective
from search.study.standing import choose_trials, standing
from search.study.study import require_study
from search.study.trials import counted, distinct, ranked, reached, value_of
from tests.search_tests.conftest import Command
from tests.search_tests.engine.test_engine_contract import ENGINES, assert_jobs_join
from tests.search_tests.logged_space import CountingClock, logged_space, trained

COSTED = "Costed(trial.suggest_float('x', 0, 1), trial.suggest_int('size', 1, 1000))"
CLASS = """

class Costed(Candidate):
    def __init__(self, x, size):
        self.x, self.size = x, size
        self.cost = Cost(size, 10 * size)
    def to_dict(self):
        return {"x": self.x, "size": self.size}
"""

every_engine = pytest.mark.parametrize(("engine", "workers"), ENGINES)


@pytest.fixture
def costed(workplace: Path) -> str:
    """A space whose candidates have a size, and whose training is written down."""
    return costed_space(workplace)


def costed_space(folder: Path, **options: object) -> str:
    path = Path(logged_space(folder, suggest=COSTED, **options))  # type: ignore[arg-type]
    text = path.read_text().replace("class Logged", f"{CLASS}\nclass Logged").replace("Candidate(Costed", "(Costed")
    path.write_text(f"from cifar.networks.complexity import Cost\n{text}")
    return str(path)


def assert_told(study: optuna.Study) -> None:
    """Complete trials have both values, others none; all have a reason, and what they reported can be read."""
    for trial in study.trials:
        assert trial.user_attrs[REASON]
        if trial.state is TrialState.COMPLETE:
            assert trial.values == [trial.intermediate_values[8], trial.user_attrs[PARAMETERS]]
        else:
            assert trial.values is None
            assert value_of(trial) == trial.intermediate_values.get(reached(trial))


@every_engine
@pytest.mark.parametrize("pruner", ["promotion", "none"])
def test_a_search_has_as_many_trials_as_wanted_and_a_front(
    engine: Callable[[], Engine], workers: int, pruner: str, costed: str, workplace: Path
) -> None:
    settings = SearchSettings(
        space=costed, objective=("accuracy", "parameters"), max_trials=12, workers=workers, pruner=pruner
    )
    study = run_search(settings, engine=engine())
    assert counted(study.trials) == 12
    assert study.directions == [StudyDirection.MINIMIZE, StudyDirection.MINIMIZE]
    assert study.metric_names == ["objective", "parameters"]
    assert_told(study)
    assert_jobs_join(workplace)
    if pruner == "promotion":
        assert [sum(reached(t) >= rung for t in study.trials) for rung in (1, 2, 4, 8)] == [12, 6, 3, 1]
    front = [row.trial.number for row in front_trials(study) if row.on_front]
    assert sorted(front) == sorted(t.number for t in study.best_trials)  # Optuna's own
    assert [t.number for t in choose_trials(study, "front")] == front


@every_engine
def test_a_search_that_a_deadline_ended_goes_on_without_training_an_epoch_twice(
    engine: Callable[[], Engine], workers: int, costed: str, workplace: Path
) -> None:
    settings = SearchSettings(space=costed, objective=("accuracy", "macs"), time_budget=1000, workers=workers)
    study = run_search(settings, engine=engine(), clock=CountingClock(workplace, 10))
    assert any(t.user_attrs.get(PAUSED) for t in study.trials)
    assert all(value_of(t) is not None for t in distinct(study.trials))
    again = SearchSettings(space=costed, epoch_budget=30, workers=workers)  # the objectives are the study's
    study = run_search(again, engine=engine())
    assert_jobs_join(workplace)
    assert second_objective(study) == "macs"
    assert sum(trained(workplace).values()) == sum(reached(t) for t in distinct(study.trials))
    for trial in study.get_trials(states=(TrialState.COMPLETE,)):
        assert trial.values == [trial.intermediate_values[8], 10 * trial.user_attrs[PARAMETERS]]


def test_an_interrupted_search_loses_nothing(workplace: Path) -> None:
    before = "if epoch == 3 and not Path('hit').exists(): Path('hit').touch(); os.kill(os.getpid(), signal.SIGTERM)"
    space = costed_space(workplace, before=before)
    settings = SearchSettings(space=space, objective=("accuracy", "parameters"), max_trials=12)
    with pytest.raises(KeyboardInterrupt):
        run_search(settings)
    study = run_search(settings)
    assert_jobs_join(workplace)
    assert counted(study.trials) == 12
    assert study.get_trials(states=(TrialState.COMPLETE,))


def test_promotions_are_of_the_best_by_both_objectives(costed: str) -> None:
    settings = SearchSettings(space=costed, objective=("accuracy", "parameters"), max_trials=12, sampler="random")
    trials = run_search(settings).trials
    points = [Point(t.user_attrs[PARAMETERS], -t.intermediate_values[1]) for t in trials]
    promoted = {t.number for t in trials if reached(t) > 1}
    front = set(non_dominated(points))
    assert front <= promoted or promoted <= front
    assert max(range(12), key=lambda number: points[number].value) in promoted


def views(*pairs: tuple[float, float], status: Status = Status.PAUSED, epochs: int = 1) -> list[TrialView]:
    """Trials at the first rung with these losses and sizes."""
    return [TrialView(i, status, epochs, {1: loss}, second=size) for i, (loss, size) in enumerate(pairs)]


def test_the_policy_promotes_in_the_order_of_the_front() -> None:
    trials = views((0.5, 100), (0.2, 1000), (0.6, 100), (0.3, 1000), (0.9, 10), (0.9, 900), (0.95, 1000), (0.99, 800))
    policy, order = Promotion((1, 2, 4), 2), []
    for _ in range(4):
        decision = policy.decide(trials, 100, 0)
        assert isinstance(decision, Promote)
        assert decision.epochs == 2
        order.append(decision.number)
        promoted = trials[decision.number]
        trials[decision.number] = TrialView(promoted.number, Status.RUNNING, 2, promoted.losses, second=promoted.second)
    assert order == [t.number for t in best_first(trials, 1)][:4] == [1, 0, 4, 2]


def test_with_one_objective_the_order_is_that_of_the_values() -> None:
    trials = [TrialView(i, Status.PAUSED, 1, {1: loss}) for i, loss in enumerate((0.5, 0.2, 0.9, 0.2))]
    assert [t.number for t in best_first(trials, 1)] == [1, 3, 0, 2]


def test_incumbents_are_the_front_of_the_highest_rung_that_compares() -> None:
    trials = views((0.5, 100), (0.2, 1000), (0.6, 100), (0.9, 10))
    assert evidence(trials, (1, 2), 2, {}).incumbents == (3, 0, 1)


def test_without_a_prior_the_front_and_chance_propose(costed: str) -> None:
    study = run_search(SearchSettings(space=costed, objective=("accuracy", "parameters"), max_trials=30))
    assert {t.user_attrs[PROPOSED_BY] for t in study.trials if PROPOSED_BY in t.user_attrs} == {"incumbent", "uniform"}


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2"])
def test_every_sampler_learns_from_two_objectives(sampler: str, costed: str) -> None:
    settings = SearchSettings(space=costed, objective=("accuracy", "parameters"), sampler=sampler, max_trials=16)
    study = run_search(settings)
    assert counted(study.trials) == 16
    assert_told(study)


def test_repeats_reuse_both_values(workplace: Path) -> None:
    path = Path(costed_space(workplace))
    path.write_text(path.read_text().replace("trial.suggest_float('x', 0, 1)", "trial.suggest_int('x', 0, 1)"))
    path.write_text(path.read_text().replace("'size', 1, 1000", "'size', 1, 2"))
    settings = SearchSettings(space=str(path), objective=("accuracy", "parameters"), pruner="none", epoch_budget=32)
    study = run_search(settings)
    repeats = [t for t in study.trials if REPEAT_OF in t.user_attrs]
    assert repeats
    assert all(t.values == study.trials[t.user_attrs[REPEAT_OF]].values for t in repeats)


REFUSED = [
    (("parameters",), "promotion", "--objective is accuracy, or accuracy and one of parameters, macs, latency"),
    (("accuracy", "loss"), "promotion", "got accuracy,loss"),
    (("accuracy", "parameters", "macs"), "promotion", "Try accuracy,parameters"),
    (("accuracy", "macs"), "hyperband", "--pruner must compare two objectives, or none; got hyperband"),
    (("accuracy", "macs"), "median", "One of promotion, none"),
]


@pytest.mark.parametrize(("objective", "pruner", "told"), REFUSED)
def test_objectives_that_cannot_be_searched_are_refused(objective: tuple[str, ...], pruner: str, told: str) -> None:
    with pytest.raises(StudyError) as error:
        SearchSettings(objective=objective, pruner=pruner)
    assert told in str(error.value)


def test_a_study_continues_with_its_objectives_alone(costed: str) -> None:
    two = SearchSettings(space=costed, study="two", objective=("accuracy", "parameters"), max_trials=2)
    one = SearchSettings(space=costed, study="one", max_trials=2)
    run_search(two)
    assert OBJECTIVES not in run_search(one).user_attrs
    for name, objective, held in (
        ("two", ("accuracy", "macs"), "accuracy,parameters"),
        ("two", ("accuracy",), "accuracy,parameters"),
        ("one", ("accuracy", "macs"), "accuracy"),
    ):
        with pytest.raises(StudyError, match=f"continues with the --objective that it began with .{held}.; got"):
            run_search(SearchSettings(space=costed, study=name, objective=objective, max_trials=3))
    with pytest.raises(StudyError, match="has two objectives, which --pruner must compare; got hyperband"):
        run_search(SearchSettings(space=costed, study="two", pruner="hyperband", max_trials=3))
    study = run_search(SearchSettings(space=costed, study="one", objective=("accuracy",), max_trials=3))
    assert counted(study.trials) == 3


def test_candidates_without_a_cost_or_a_network_are_refused(workplace: Path) -> None:
    space = logged_space(workplace)
    with pytest.raises(StudyError, match="--objective macs needs candidates with a cost; got Candidate without one"):
        run_search(SearchSettings(space=space, objective=("accuracy", "macs"), max_trials=2))
    with pytest.raises(StudyError, match="--objective latency needs a space whose candidates are networks"):
        run_search(SearchSettings(space=space, objective=("accuracy", "latency"), max_trials=2))


def test_the_front_of_one_objective_is_refused(costed: str) -> None:
    study = run_search(SearchSettings(space=costed, max_trials=2))
    with pytest.raises(StudyError, match="--trial front needs a study of two objectives"):
        choose_trials(study, "front")


@pytest.mark.slow
def test_latency_is_measured_once_a_trial(toy_search: Callable[..., SearchSettings]) -> None:
    study = run_search(toy_search(objective=("accuracy", "latency"), max_trials=3))
    for trial in study.trials:
        assert trial.user_attrs[LATENCY] > 0
        assert trial.user_attrs["latency_128_ms"] > trial.user_attrs[LATENCY]
        if trial.state is TrialState.COMPLETE:
            assert trial.values == [value_of(trial), trial.user_attrs[LATENCY]]
    assert study.metric_names == ["validation accuracy", "latency in ms"]


@pytest.mark.slow
def test_a_study_of_two_objectives_from_command_to_report(toy: Path, command: Command, workplace: Path) -> None:
    options = ["--space", "resnet_budget30k", "--study", "two", "--data", str(toy), "--trials", "6", "--device", "cpu"]
    options += ["--max-epochs", "2", "--val-size", "100", "--mac-budget", "3M", "--workers", "1"]
    done = command("run", *options, "--objective", "accuracy,parameters", "--pruner", "none")
    assert done.returncode == 0, done.stderr
    study = require_study(SearchSettings(study="two"))
    front = [row.trial.number for row in front_trials(study) if row.on_front]
    assert "front" in done.stdout
    assert 'objective = "accuracy,parameters"' in (workplace / "studies/two/study.toml").read_text()
    report = study_report(study, workplace / "studies/two")
    assert [row.trial.number for row in report.front if row.on_front] == front
    page = (workplace / "studies/two/report.html").read_text()
    assert "Both objectives" in page
    shown = command("show", "--study", "two", "--trial", "front")
    assert [f"Trial {number}" in shown.stdout for number in front] == [True] * len(front)
    assert "Value and parameters" in command("show", "--study", "two").stdout
    assert command("report", "--study", "two").returncode == 0
    table = (workplace / "studies/two/front.csv").read_text().splitlines()
    assert table[0] == "trial,value,parameters,on_front,is_knee"
    assert len(table) == 1 + len(report.front)
    first = (workplace / "studies/two/trials.csv").read_text().splitlines()[0].split(",")
    assert first[:3] == ["number", "state", "value"]
    again = command("run", *options, "--objective", "accuracy,macs")
    assert again.returncode == 2
    assert again.stderr.count("\n") == 1
    lines = command("run", *options[:-6], "--trials", "7", "--json", "--pruner", "none").stdout.splitlines()
    result = json.loads(lines[-1])
    assert {row["trial"] for row in result["front"]} >= {result["front"][0]["trial"]}
    assert standing(study) is not None
    assert ranked(study)
