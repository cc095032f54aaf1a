"""Trackers: real searches, read back with the libraries themselves where these can read what they wrote offline."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import optuna
import pytest

from search.engine.events import EpochDone, Event, TrialEnded, TrialStarted
from search.session import run_search
from search.settings import SearchSettings, StudyError
from search.study.attributes import REPEAT_OF
from search.tracking.mlflow import MlflowTracker
from search.tracking.tensorboard import METRIC, TensorBoardTracker
from search.tracking.wandb import WandbTracker


@pytest.fixture
def settings(curves: str) -> SearchSettings:
    return SearchSettings(space=curves, study="tracked", max_trials=8)


def trained(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials that have a run: all but the repeats."""
    return [trial for trial in study.trials if REPEAT_OF not in trial.user_attrs]


def test_a_callback_gets_every_event(settings: SearchSettings) -> None:
    seen: list[Event] = []
    study = run_search(settings, callbacks=[seen.append])
    told = [(event.number, event.epoch, event.value) for event in seen if isinstance(event, EpochDone)]
    held = [(t.number, epoch, value) for t in trained(study) for epoch, value in t.intermediate_values.items()]
    assert sorted(told) == sorted(held)
    params = {event.number: event.params for event in seen if isinstance(event, TrialStarted)}
    assert params == {trial.number: trial.params for trial in trained(study)}
    assert {event.number for event in seen if isinstance(event, TrialEnded)} == {t.number for t in study.trials}


def test_what_a_callback_raises_ends_the_search_which_goes_on_later(settings: SearchSettings) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, TrialEnded) and event.number == 3:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        run_search(settings, callbacks=[stop])
    study = run_search(settings)
    assert not [t for t in study.trials if t.state in (optuna.trial.TrialState.RUNNING, optuna.trial.TrialState.FAIL)]


def events_of(folder: Path) -> Any:
    """What TensorBoard itself reads in a folder."""
    reader: Any = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs the package tensorboard"
    )
    events = reader.EventAccumulator(str(folder))
    events.Reload()
    return events


def hyperparameters(events: Any) -> dict[str, float]:
    """The numbers among a trial's hyperparameters, by name."""
    from tensorboard.plugins.hparams import plugin_data_pb2

    (content,) = (data for tag, data in events.PluginTagToContent("hparams").items() if tag.endswith("start_info"))
    stored = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    return {name: value.number_value for name, value in stored.items()}


def test_tensorboard_shows_each_trial(settings: SearchSettings) -> None:
    pytest.importorskip("tensorboard")
    with TensorBoardTracker("boards") as tracker:
        study = run_search(settings, callbacks=[tracker])
    for trial in trained(study):
        events = events_of(Path(f"boards/trial-{trial.number}"))
        assert {e.step: e.value for e in events.Scalars("value")} == pytest.approx(trial.intermediate_values)
    assert len(list(Path("boards").iterdir())) == len(trained(study))
    events = events_of(Path("boards/trial-0"))
    assert hyperparameters(events) == {"row": study.trials[0].params["row"], "candidate": 0}
    assert [e.value for e in events.Scalars(METRIC)] == pytest.approx([study.trials[0].value])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # MLflow's own
def test_mlflow_holds_each_trial_in_a_database(settings: SearchSettings, workplace: Path) -> None:
    mlflow: Any = pytest.importorskip("mlflow", reason="needs the package mlflow")
    uri = f"sqlite:///{workplace / 'mlflow.db'}"
    with MlflowTracker("tracked", uri) as tracker:
        study = run_search(settings, callbacks=[tracker])
    client = mlflow.MlflowClient(tracking_uri=uri)
    runs = {
        run.info.run_name: run for run in client.search_runs([client.get_experiment_by_name("tracked").experiment_id])
    }
    assert runs.keys() == {f"trial {trial.number}" for trial in trained(study)}
    for trial in trained(study):
        run = runs[f"trial {trial.number}"]
        history = client.get_metric_history(run.info.run_id, "value")
        assert {metric.step: metric.value for metric in history} == trial.intermediate_values
        assert run.data.params["row"] == str(trial.params["row"])
    assert runs["trial 0"].info.status == "FINISHED"
    assert {run.data.tags["outcome"] for run in runs.values()} == {"complete", "paused"}


def test_weights_and_biases_writes_a_run_a_trial_offline(settings: SearchSettings, workplace: Path) -> None:
    pytest.importorskip("wandb", reason="needs the package wandb")
    with WandbTracker("project", "tracked", workplace) as tracker:
        study = run_search(settings, callbacks=[tracker])
    files = sorted((workplace / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == len(trained(study))
    texts = [file.read_bytes() for file in files]
    for trial in trained(study):
        (text,) = (text for text in texts if f"trial {trial.number}".encode() in text)
        assert b"tracked" in text
        for value in trial.intermediate_values.values():
            assert repr(value).encode() in text


@pytest.mark.parametrize(
    ("package", "make"),
    [
        ("mlflow", lambda: MlflowTracker("tracked")),
        ("wandb", lambda: WandbTracker("project", "tracked")),
        ("torch.utils.tensorboard", lambda: TensorBoardTracker("boards")),
    ],
)
def test_a_missing_package_is_told(package: str, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(StudyError, match=r"this tracker needs the package \w+; got .* Run pip install"):
        make()
