"""`search.run --retrain` from start to end, on toy images: finals, final training, what is kept, what a stop loses."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from cifar.checkpoint import load_model
from cifar.data.prepare import prepare
from cifar.data.splits import load_training_split
from cifar.evaluate import evaluate
from cifar.prediction import predict_probabilities
from cifar.runtime.device import choose_device
from search.cli import run_command
from search.finish import finish_search
from search.planning.plan import Plan
from search.reporting.screen.terminal import LineDisplay
from search.run import main
from search.session import run_search
from search.settings import SearchSettings, StudyError
from search.study.attributes import BASELINE, EPOCH_SECONDS, FINALIST, PLAN, RIGHT
from search.study.lasting_lead import why_not_trained
from search.study.progress import progress_of
from search.study.right_images import packed
from search.study.standing import standing
from search.study.study import require_study, stored_plan

SPACE = """
from cifar import Candidate, Recipe, ResNetConfig
from cifar.recipe import Optimizer
from spaces import SearchSpace, WarmStart

class Small(SearchSpace):
    def __init__(self, problem):
        self.problem = problem
    def suggest(self, trial):
        lr = trial.suggest_float("lr", 1e-4, 0.3, log=True)
        network = ResNetConfig(blocks=(1, 1, 1), channels=(4, 4, 4), stem=4)
        network = network.with_classes(self.problem.num_classes, self.problem.image_size)
        return Candidate(network, Recipe(epochs=3, batch_size=32, optimizer=Optimizer("sgd", lr=lr)))
    def warm_starts(self):
        return [WarmStart("default", {"lr": 0.05})]

space = Small
"""
FINAL = Path("studies/small/runs/final")


@pytest.fixture
def options(toy: Path, workplace: Path) -> list[str]:
    """An hour for four trials: what they leave is more than the finals need."""
    (workplace / "small.py").write_text(SPACE)
    line = f"--space small.py --data {toy} --device cpu --val-size 100 --train-size 64 --max-epochs 2"
    return [*line.split(), "--trials", "4", "--time-budget", "1h", "--retrain"]


@pytest.fixture
def settings(options: list[str], toy: Path) -> SearchSettings:
    """The same as settings."""
    changes = {"val_size": 100, "train_size": 64, "max_epochs": 2, "max_trials": 4, "time_budget": 3600.0}
    return SearchSettings("small.py", data=str(toy), device="cpu", retrain=True, **changes)  # type: ignore[arg-type]


class Stopping(LineDisplay):
    """Ctrl-C where a line begins like this for the first time."""

    def __init__(self, beginning: str) -> None:
        super().__init__()
        self.beginning = beginning

    def say(self, line: str) -> None:
        super().say(line)
        if self.beginning and line.startswith(self.beginning):
            self.beginning = ""
            raise KeyboardInterrupt


def test_a_stop_in_any_part_loses_nothing(
    options: list[str], settings: SearchSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    stopping = Stopping("trial 2   paused")
    with pytest.raises(KeyboardInterrupt):  # in the search
        run_search(settings, stopping)
    used = progress_of(require_study(settings), settings)
    assert 0 < used.searched < used.division.search
    study = run_search(settings, stopping)
    assert progress_of(study, settings).searched > used.searched
    assert len([t for t in study.trials if BASELINE in t.user_attrs]) == 1

    stopping.beginning = "trial 0   complete"  # in the finals
    with pytest.raises(KeyboardInterrupt):
        finish_search(study, settings, stopping)
    stopped = progress_of(study, settings)
    assert (stopped.compared > 0, stopped.search_left, stopped.winner) == (True, 0.0, None)

    stopping.beginning = "epoch   2/3"  # in the final training, whose first epoch is saved
    with pytest.raises(KeyboardInterrupt):
        finish_search(run_search(settings, stopping), settings, stopping)
    finals = require_study(replace(settings, study="small-finals", retrain=False))
    chosen = progress_of(study, settings)
    assert chosen.training == 3600 - chosen.searched - chosen.compared
    capsys.readouterr()

    assert run_command(main, options) == 0  # the same command
    printed = capsys.readouterr().out
    assert "continuing after epoch 1 of 3" in printed
    assert "trial 0   starts" not in printed
    record = json.loads((FINAL / "run.json").read_text())
    assert (record["finished"], record["train_images"], record["val_images"]) == (True, 400, 0)
    assert record["asked"]["time_budget"] == chosen.training
    assert f"trial {chosen.winner} of study small" in printed
    assert "95 % interval" in printed  # the class table
    assert "of the validation images after 2 short epochs" in printed

    stands, plan = standing(finals), stored_plan(finals)
    assert stands is not None
    assert stands.best.user_attrs[FINALIST] == chosen.winner
    assert next(t.user_attrs[FINALIST] for t in finals.trials if BASELINE in t.user_attrs) == 0
    assert plan.train_size * plan.max_epochs == 4 * 64 * 2
    assert {t.state for t in finals.trials} <= {TrialState.COMPLETE, TrialState.PRUNED}

    assert run_command(main, [*options, "--quiet"]) == 0  # nothing is left to do
    assert re.fullmatch(r"final +trial \d+ of study small, .*\n", capsys.readouterr().out)
    assert run_command(main, [("2h" if word == "1h" else word) for word in options]) == 2
    assert "continues with the --time-budget that it began with (3600 s); got 7200 s" in capsys.readouterr().err


def test_the_weights_of_baseline_and_leader_predict_as_they_did(settings: SearchSettings, toy: Path) -> None:
    study = run_search(replace(settings, retrain=False, max_trials=6, time_budget=None))
    stands, plan = standing(study), stored_plan(study)
    assert stands is not None
    assert stands.baseline is not None
    models = {path.name for path in Path("studies/small/models").iterdir()}
    assert models == {f"trial-{number}" for number in stands.kept}
    split = load_training_split(
        prepare(str(toy)), val_size=plan.val_size, train_size=plan.train_size, val_limit=plan.val_limit
    )
    device = choose_device("cpu")
    for trial in {stands.leader.number: stands.leader, 0: stands.baseline}.values():
        model = load_model(Path(f"studies/small/models/trial-{trial.number}"))
        predicted = predict_probabilities(
            model.network,
            split.val.images,
            model.normalization,
            device=device.torch_device,
            autocast=device.autocast,
        )
        assert evaluate(predicted, split.val.labels, model.class_names).accuracy == pytest.approx(trial.value)
        right = (predicted.argmax(1) == split.val.labels).tolist()
        assert trial.user_attrs[RIGHT] == packed(right)


BEHIND, AHEAD = (0.20, 0.36, 0.49), (0.40, 0.45, 0.50)


def leading(slow: tuple[float, ...], fast: tuple[float, ...]) -> optuna.Study:
    """A study whose baseline had some values at the rungs 1, 2 and 4, and another trial others; an epoch took 1 s."""
    study = optuna.create_study(direction="maximize")
    study.set_user_attr(PLAN, asdict(Plan(1, 4, 2, 1000, 1000, 100_000, None, None, anneals=True)))
    for values, marks in ((slow, {BASELINE: True, EPOCH_SECONDS: 1.0}), (fast, {EPOCH_SECONDS: 1.0})):
        at_rungs = dict(zip((1, 2, 4), values, strict=True))
        study.add_trial(create_trial(value=values[-1], intermediate_values=at_rungs, user_attrs=marks))
    return study


@pytest.mark.parametrize(
    ("minutes", "slow", "fast", "doubt"),
    [
        (1, (0.20, 0.30, 0.40), (0.30, 0.40, 0.50), None),  # 15 times a full trial of four seconds
        (2, (0.20, 0.30, 0.40), (0.30, 0.40, 0.50), "a training 30 times as long"),
        (1, BEHIND, AHEAD, "after some 60,000 images it is expected to have"),
        (1, AHEAD, BEHIND, None),  # the baseline leads
    ],
)
def test_the_baseline_is_trained_where_a_lead_is_not_expected_to_last(
    minutes: int, slow: tuple[float, ...], fast: tuple[float, ...], doubt: str | None
) -> None:
    study = leading(slow, fast)
    stands = standing(study)
    assert stands is not None
    assert stands.best.number == int(fast[-1] > slow[-1])
    found = why_not_trained(study, None, stands, SearchSettings(time_budget=60.0 * minutes, retrain=True))
    assert found is None if doubt is None else doubt in str(found)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["--retrain"], "--retrain needs --time-budget"),
        (["--retrain", "--time-budget", "1h", "--space", "{curves}"], "--retrain needs a space whose candidates are"),
    ],
)
def test_what_cannot_be_retrained_is_refused(
    changes: list[str], words: str, curves: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(main, [word.format(curves=curves) for word in changes]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not Path("studies").exists()


def test_more_time_may_be_given_until_the_final_training_begins(settings: SearchSettings) -> None:
    study = run_search(settings)
    longer = replace(settings, time_budget=7200)
    assert progress_of(study, longer).division.search == 0.25 * 7200
    with pytest.raises(StudyError, match="needs --time-budget"):
        replace(settings, time_budget=None)


def test_where_no_trial_got_a_value_the_baseline_is_trained(
    settings: SearchSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = replace(settings, max_trials=1, max_epochs=1)
    study = run_search(settings)
    monkeypatch.setattr("search.finish.standing", lambda _: None)  # as if its first epoch had not ended
    outcome = finish_search(study, settings, LineDisplay())
    assert outcome.record.title == "trial 0 of study small"
    assert "the time was too short for any trial's value" in capsys.readouterr().out
