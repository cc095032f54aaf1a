"""The report of a study, on small real studies: its figures, its files, its words, its errors."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from cifar.runtime.device import choose_device
from search.cli import run_command
from search.planning.description import describe, shortfalls
from search.planning.forecast import Forecast, disk, forecast, forecast_at, trials_reaching
from search.planning.plan import Plan
from search.planning.speed import Speed
from search.report import main
from search.reporting.screen.terminal import LineDisplay
from search.reporting.studies.pareto import best_by_limit, costed_trials
from search.reporting.studies.resource_usage import ResourceUsage, epochs_at_pauses, resource_usage
from search.reporting.studies.study_files import write_study_report
from search.reporting.studies.study_report import rung_values, study_report
from search.reporting.studies.study_sections import sections
from search.reporting.tables import markdown
from search.session import run_search
from search.settings import PRUNERS, SearchSettings
from search.study.attributes import CONTINUES, FORECAST, LAST_JOB, REPEAT_OF
from search.study.session_log import calls
from search.study.study import stored_plan
from search.study.trials import distinct
from tests.search_tests.reporting.elements import Elements, figures

Settings = Callable[..., SearchSettings]

# ---- resource usage


@pytest.fixture
def resumable(curves: str) -> str:
    """The recorded curves as a space that resumes after a pause."""
    path = Path(curves)
    path.write_text(
        path.read_text()
        .replace("uses_images = False", "uses_images = False\n    resumable = True")
        .replace("range(1, context", "range(context.epochs_done + 1, context")
    )
    return curves


def usage_of(study: optuna.Study) -> ResourceUsage:
    return resource_usage(study.trials, stored_plan(study), calls(study), 0)


def test_resource_usage_adds_up(resumable: str) -> None:
    study = run_search(SearchSettings(space=resumable, max_trials=24))
    plan, usage = stored_plan(study), usage_of(study)
    trained = {t.number: t.last_step or 0 for t in distinct(study.trials)}
    assert usage.trials == len(trained) == usage.planned_trials == 24
    assert usage.epochs == sum(trained.values())
    assert usage.full_epochs == 24 * plan.max_epochs == usage.epochs + usage.saved_by_stopping
    assert usage.unfinished == sum(epochs < plan.max_epochs for epochs in trained.values())
    reached = [sum(epochs >= rung for epochs in trained.values()) for rung in plan.rungs]
    assert [stage.trials for stage in usage.stages] == reached
    assert [stage.planned_trials for stage in usage.stages] == [
        24 // plan.eta**level for level in range(len(plan.rungs))
    ]
    assert usage.resumed == sum(reached[1:])  # one promotion a rung
    assert usage.saved_by_resuming == sum(n * r for n, r in zip(reached[1:], plan.rungs, strict=False))
    assert usage.lost_epochs == 0
    assert usage.seconds is not None
    assert usage.unknown_calls == 0
    assert usage.planned_disk == 0  # nothing is saved without images


def test_a_space_that_trains_from_the_start_saves_nothing_by_resuming(curves: str) -> None:
    study = run_search(SearchSettings(space=curves, max_trials=24))
    usage = usage_of(study)
    assert usage.resumed > 0 == usage.saved_by_resuming
    report = study_report(study, Path("studies/curves"))
    assert "none saved an epoch, since this space trains from the start" in "\n".join(markdown(sections(report)))


def test_trials_that_a_later_call_resumes_count_once(resumable: str) -> None:
    run_search(SearchSettings(space=resumable, epoch_budget=40))
    study = run_search(SearchSettings(space=resumable, epoch_budget=60))
    assert any(CONTINUES in t.user_attrs for t in study.trials)
    plan, usage = stored_plan(study), usage_of(study)
    kept = distinct(study.trials)
    assert usage.trials == len(kept) < len(study.trials)
    assert usage.epochs == sum(t.last_step or 0 for t in kept) <= 100
    first, second = calls(study)
    assert usage.planned_trials == first.reaching[0] + second.reaching[0]
    assert usage.seconds == pytest.approx((first.spent or 0) + (second.spent or 0))
    by_number = {t.number: t for t in study.trials}
    for trial in kept:
        found = epochs_at_pauses(trial, plan.rungs, by_number)
        assert found <= set(range(1, plan.max_epochs))
        if trial.state is TrialState.COMPLETE:
            assert found == set(plan.rungs[:-1])
        assert bool(found) == bool(trial.user_attrs[LAST_JOB][0])


@pytest.mark.parametrize("pruner", PRUNERS)
def test_every_pruner_has_its_resource_usage(curves: str, pruner: str) -> None:
    study = run_search(SearchSettings(space=curves, max_trials=18, pruner=pruner))
    usage = usage_of(study)
    assert usage.epochs + usage.saved_by_stopping == usage.full_epochs
    assert (usage.saved_by_stopping == 0) == (pruner == "none")
    assert bool(usage.resumed) == (pruner == "promotion")
    assert usage.planned_trials == 18
    assert study_report(study, Path("studies/curves")).correlations


def test_repeats_are_no_trials_of_their_own(workplace: Path, curves: str) -> None:
    path = Path(curves)
    path.write_text(path.read_text().replace('"row", 0, 199', '"row", 0, 4'))
    study = run_search(SearchSettings(space=curves, max_trials=5, sampler="random"))
    repeats = [t for t in study.trials if REPEAT_OF in t.user_attrs]
    assert repeats
    usage = usage_of(study)
    assert (usage.repeats, usage.trials) == (len(repeats), 5)
    assert usage.saved_by_repeats == sum(t.last_step or 0 for t in repeats) > 0


def test_failed_trials_lose_their_epochs(workplace: Path, curves: str) -> None:
    path = Path(curves)
    failing = "if epoch == 3 and candidate.index % 3 == 0: raise RuntimeError(str(candidate.index))"
    path.write_text(path.read_text().replace("            yield", f"            {failing}\n            yield"))
    study = run_search(SearchSettings(space=curves, max_trials=12, pruner="none"))
    failed = study.get_trials(states=(TrialState.FAIL,))
    assert failed
    usage = usage_of(study)
    assert usage.lost_epochs == 2 * len(failed)
    assert usage.trials == 12
    assert not {t.number for t in failed} & rung_values(study.trials, stored_plan(study), maximize=False).keys()


def test_values_at_rungs_are_turned_so_that_larger_is_better(curves: str) -> None:
    study = run_search(SearchSettings(space=curves, max_trials=24))
    values = rung_values(study.trials, stored_plan(study), maximize=False)
    for number, of in values.items():
        assert of == {rung: -study.trials[number].intermediate_values[rung] for rung in of}
    report = study_report(study, Path("studies/curves"))
    assert (
        report.winner_history[0].winner
        == min((t for t in study.trials if t.state is TrialState.COMPLETE), key=lambda t: t.value or 0).number
    )


# ---- the command


def usage_columns(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Planned and actual figures by name."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    planned, actual = ({row["what"]: row[column] for row in rows} for column in ("planned", "actual"))
    return planned, actual


def test_the_report_of_a_search_on_images(toy_search: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    study = run_search(toy_search(max_trials=8, max_epochs=4, train_size=128))
    capsys.readouterr()
    assert run_command(main, ["--study", "toy"]) == 0
    printed = capsys.readouterr().out
    written = Path("studies/toy/report.md").read_text()
    for words in ("Is the short run trustworthy?", "Plan against actual", "Pareto front", "underestimate"):
        assert words in printed
        assert words in written
    assert "wrote       studies/toy/report.md" in printed

    planned, actual = usage_columns(Path("studies/toy/bill.csv"))
    assert planned["trials_started"] == actual["trials_started"] == "8"
    size = sum(path.stat().st_size for path in Path("studies/toy/checkpoints").glob("*.pt"))
    assert int(actual["checkpoint_bytes"]) == size > 0
    assert float(planned["seconds_an_epoch"]) > 0
    assert float(actual["seconds"]) > 0
    assert int(actual["epochs_saved_by_resuming"]) > 0

    drawn = figures(Elements(Path("studies/toy/report.html").read_text()))
    assert {"history", "curves", "parameters", "macs", "timeline"} <= drawn.keys()

    table = pd.read_csv("studies/toy/pareto.csv")
    complete = [t for t in study.trials if t.state is TrialState.COMPLETE]
    assert sorted(table["trial"]) == sorted(t.number for t in complete)
    best = table[table["value"] == table["value"].max()]
    assert best[["on_parameters_front", "on_macs_front"]].to_numpy().any()
    assert pd.read_csv("studies/toy/rung_agreement.csv")["trials_at_both"].max() <= 8
    card = Path("studies/toy/README.md").read_text()
    assert "## Pareto front" in card
    assert f"| {table['trial'][0]} |" in card.split("## Pareto front")[1]


def test_the_estimate_of_a_checkpoint_is_near_the_file(toy_search: Settings) -> None:
    study = run_search(toy_search(max_trials=6, max_epochs=4, train_size=64))
    sizes = [path.stat().st_size for path in Path("studies/toy/checkpoints").glob("*.pt")]
    mean = sum(t.user_attrs["parameters"] for t in study.trials) / len(study.trials)
    expected = disk(stored_plan(study), "promotion", 6, mean)
    assert expected is not None
    assert sum(sizes) / 4 < expected < sum(sizes) * 4


def test_a_study_without_cost_has_no_front(curves: str, tmp_path: Path) -> None:
    study = run_search(SearchSettings(space=curves, max_trials=12))
    assert run_command(main, ["--study", "curves", "--out", str(tmp_path / "there")]) == 0
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == [
        "bill.csv",
        "curves.csv",
        "report.html",
        "report.md",
        "rung_agreement.csv",
        "study.toml",
    ]
    assert "Pareto" not in (tmp_path / "there" / "report.md").read_text()
    assert "Pareto" not in Path("studies/curves/README.md").read_text()
    assert not list(Path("studies/curves").glob("report.md"))
    assert costed_trials(study) == []


def test_few_trials_tell_nothing(curves: str, capsys: pytest.CaptureFixture[str]) -> None:
    run_search(SearchSettings(space=curves, max_trials=3))
    assert run_command(main, ["--study", "curves"]) == 0
    printed = capsys.readouterr().out
    assert "Too few trials to tell" in printed
    assert "rank correlation 0" not in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--study", "none"], "the study must exist; got 'none'"),
        (["--study", "a/b"], "plain folder name"),
        (["--study", "empty"], "a report needs a trial that was trained for an epoch; got none"),
        (["--study", "foreign"], "must have been made by search.run"),
        (["--compare", "nowhere"], "got"),
    ],
)
def test_errors_are_one_line_and_status_2(
    arguments: list[str], words: str, curves: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = SearchSettings(space=curves, study="empty", max_trials=2)
    study = run_search(settings)
    if "empty" in arguments:
        plan = study.user_attrs["plan"]
        optuna.delete_study(study_name="empty", storage="sqlite:///studies/empty/study.db")
        optuna.create_study(study_name="empty", storage="sqlite:///studies/empty/study.db").set_user_attr("plan", plan)
    Path("studies/foreign").mkdir()
    optuna.create_study(study_name="foreign", storage="sqlite:///studies/foreign/study.db")
    capsys.readouterr()
    assert run_command(main, arguments) == 2
    errors = capsys.readouterr().err
    assert words in errors
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1


def test_a_study_of_an_older_version_is_reported_without_a_plan(curves: str) -> None:
    study = run_search(SearchSettings(space=curves, max_trials=12))
    held = study._storage.get_study_user_attrs(study._study_id)
    old = optuna.create_study(study_name="old", direction="minimize")
    for key, value in held.items():
        if not key.startswith(FORECAST):
            old.set_user_attr(key, value)
    old.add_trials(study.trials)
    report = study_report(old, Path("studies/old"))
    assert (report.usage.planned_trials, report.usage.planned_epochs, report.usage.seconds) == (None, None, None)
    assert "No plan of trials is recorded" in "\n".join(markdown(sections(report)))
    write_study_report(Path("old"), report)
    assert pd.read_csv("old/bill.csv")["planned"].isna().all()


def test_the_best_within_a_limit_may_have_drawn_a_smaller_one(toy_search: Settings) -> None:
    study = run_search(toy_search(param_budgets=(30_000, 20_000), max_trials=6, train_size=64))
    found = costed_trials(study)
    best = best_by_limit(found, (30_000, 20_000))
    assert [limit for limit, _ in best] == [20_000, 30_000]
    for limit, standing in best:
        within = [s.value for s in found if s.parameters <= limit]
        assert (standing.value if standing else None) == max(within, default=None)
    assert best[1][1] == found[0]
    report = study_report(study, Path("studies/toy"))
    assert "## Best trial within each limit" in "\n".join(markdown(sections(report)))


# ---- what is expected


def plan(min_epochs: int, max_epochs: int, eta: int, from_top: bool = True) -> Plan:
    return Plan(min_epochs, max_epochs, eta, 1000, 100, 100, 300_000, None, from_top=from_top)


@given(st.integers(1, 200), st.integers(1, 100), st.integers(2, 4), st.sampled_from(PRUNERS), st.booleans())
def test_ever_fewer_trials_reach_the_rungs(trials: int, max_epochs: int, eta: int, pruner: str, baseline: bool) -> None:
    made = plan(1, max_epochs, eta)
    reaching = trials_reaching(made, pruner, trials, baseline=baseline)
    assert len(reaching) == len(made.rungs)
    assert reaching[0] == trials
    assert reaching == sorted(reaching, reverse=True)
    assert reaching[-1] >= 1


@given(st.integers(50, 500), st.sampled_from(["promotion", "hyperband"]), st.booleans())
def test_expected_epochs_are_those_of_the_forecast(trials: int, pruner: str, baseline: bool) -> None:
    made = plan(1, 9, 3, from_top=pruner == "promotion")
    settings = SearchSettings(max_trials=trials, pruner=pruner, eta=3)
    outlook = forecast_at(made, settings, 2.0, baseline=baseline)
    assert outlook.baseline == baseline
    reaching = trials_reaching(made, pruner, trials, baseline=baseline)
    epochs = sum(n * (high - low) for n, low, high in zip(reaching, [0, *made.rungs], made.rungs, strict=False))
    assert epochs == pytest.approx(trials * outlook.trial_epochs, rel=0.1)


def test_forecasts_of_calls_that_continue() -> None:
    made = plan(1, 8, 2)
    assert forecast_at(made, SearchSettings(max_trials=50), 2.0, started=30).trials == 20
    assert forecast_at(made, SearchSettings(max_trials=50), 2.0, started=50).trials == 0
    assert forecast_at(made, SearchSettings(epoch_budget=100), 2.0).trials == 40  # 1 + 1/2 + 2/4 + 4/8 epochs each
    assert forecast_at(made, SearchSettings(epoch_budget=100), 2.0).seconds == pytest.approx(200)
    assert forecast_at(made, SearchSettings(epoch_budget=100), 2.0, baseline=True).trials == 37  # one of 8 epochs
    assert forecast_at(made, SearchSettings(epoch_budget=100, time_budget=50.0), 2.0).trials == 10


@pytest.mark.parametrize(
    ("settings", "outlook", "words"),
    [
        (SearchSettings(time_budget=600.0), Forecast(2.0, 2.5, 120, 600.0), []),
        (SearchSettings(max_trials=50), Forecast(2.0, 2.5, 50, 250.0), []),
        (SearchSettings(time_budget=8.0), Forecast(2.0, 2.5, 1, 8.0), ["--time-budget holds 0.5 of one full", "few"]),
        (SearchSettings(time_budget=8.0, workers=4), Forecast(2.0, 2.5, 6, 8.0), ["few"]),
        (SearchSettings(epoch_budget=6), Forecast(2.0, 2.5, 2, 8.0), ["--epoch-budget holds 0.75 of one", "few"]),
        (
            SearchSettings(max_trials=5),
            Forecast(2.0, 2.5, 5, 25.0),
            ["few         5 trials cannot fill 4 rungs, beyond each of which one of 2 is trained: that takes 8"],
        ),
        (SearchSettings(max_trials=5, pruner="none"), Forecast(2.0, 8.0, 5, 80.0), []),
    ],
)
def test_what_a_budget_does_not_hold_is_told(settings: SearchSettings, outlook: Forecast, words: list[str]) -> None:
    lines = shortfalls(plan(1, 8, 2), outlook, settings)
    assert len(lines) == len(words)
    assert all(expected in line for expected, line in zip(words, lines, strict=True))


def test_disk_is_asked_of_promotion_on_images_only() -> None:
    made = plan(1, 8, 2)
    assert disk(made, "promotion", 16) == 14 * 4 * 300_000 * 10 // 3
    assert disk(made, "promotion", 16, parameters=30_000) == 14 * 4 * 30_000 * 10 // 3
    assert disk(made, "hyperband", 16) == 0
    assert disk(replace(made, train_size=0), "promotion", 16) == 0
    assert disk(replace(made, param_budget=None), "promotion", 16) is None
    limited = disk(replace(made, mac_budget=8_000_000), "promotion", 16)
    assert limited is not None
    assert 0 < limited < 14 * 4 * 300_000 * 10 // 3


def test_the_plan_tells_the_disk_and_what_is_too_small(curves: str) -> None:
    speed, settings = Speed(((8_000_000, 1 / 1000),)), SearchSettings(max_trials=5, param_budgets=(30_000, 300_000))
    made = replace(plan(1, 8, 2), param_budgets=settings.param_budgets)
    lines = describe(made, forecast(made, settings, speed), settings, choose_device("cpu"))
    assert "limits      30,000 or 300,000 parameters, no MAC limit" in lines
    starts_of_lines = [line.split()[0] for line in lines]
    assert starts_of_lines == ["device", "limits", "rungs", "epoch", "expected", "disk", "short", "few"]

    shown = io.StringIO()
    run_search(SearchSettings(space=curves, max_trials=3), LineDisplay(shown))
    assert "few         3 trials cannot fill 5 rungs" in shown.getvalue()
