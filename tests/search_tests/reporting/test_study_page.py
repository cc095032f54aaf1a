"""The page of a study: on real searches, on studies of every kind of trial, in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import optuna
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from cifar.candidate import Candidate, RecipeFile
from cifar.recipe import recipe_names
from search.engine.events import TrialEnded, TrialOutcome, TrialStarted
from search.planning.plan import Plan
from search.report import main
from search.reporting.candidate_words import in_words
from search.reporting.studies.study_report import study_report
from search.reporting.study_page import run_sections
from search.reporting.study_page.history_figures import MOST_POINTS
from search.reporting.study_page.live_page import INTERVAL, LivePage
from search.reporting.study_page.page import PAGE, REFRESH, write_study_page
from search.session import run_search
from search.settings import SearchSettings
from search.study.attributes import BASELINE, CANDIDATE, DATA, MACS, PARAMETERS, PAUSED, PLAN, REASON, SEED, SPACE
from tests.browser import Browser
from tests.search_tests.reporting.elements import HOSTILE, Elements, figures

SECTIONS = (
    "What was asked, and what came out",
    "The bill",
    "How the search went",
    "Accuracy against size",
    "Which choices mattered",
    "When trials ran",
    "Is the short run trustworthy?",
    "Trials without a result",
    "To repeat this",
)
"""Headings of every page of a study that has costs and values."""
NONE: Mapping[str, object] = {}
FIGURES = {"history", "curves", "parameters", "macs", "importance", "parallel", "map", "timeline", "trust"}
"""Places of the figures beside slices."""
IMAGES = Plan(1, 9, 3, 1000, 500, 500, 300_000, 12_000_000, from_top=True)
DISTRIBUTIONS: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(1e-4, 1.0, log=True),
    "kind": CategoricalDistribution(("sgd", "adam")),
    "momentum": FloatDistribution(0.0, 1.0),
    "blocks": IntDistribution(1, 9),
}
"""Of a conditional space: momentum is of sgd alone."""


def a_trial(
    state: TrialState,
    values: Mapping[int, float],
    params: Mapping[str, Any],
    parameters: int = 100_000,
    attributes: Mapping[str, object] = NONE,
) -> FrozenTrial:
    """A stored trial; its last value is its own."""
    complete = state is TrialState.COMPLETE
    return create_trial(
        state=state,
        value=values[max(values)] if values and complete else None,
        params=dict(params),
        distributions={name: DISTRIBUTIONS.get(name, CategoricalDistribution((params[name],))) for name in params},
        intermediate_values=dict(values),
        user_attrs={PARAMETERS: parameters, MACS: 40 * parameters, CANDIDATE: Candidate().to_dict(), **attributes},
    )


def a_study(
    trials: Sequence[FrozenTrial], plan: Plan = IMAGES, direction: Literal["maximize", "minimize"] = "maximize"
) -> optuna.Study:
    """A study that holds these trials, as `search.run` would have made it."""
    study = optuna.create_study(study_name="built", direction=direction)
    for key, value in {PLAN: asdict(plan), SPACE: "resnet_budget300k", SEED: 0, DATA: "0123abcd"}.items():
        study.set_user_attr(key, value)
    study.add_trials(trials)
    return study


def many_trials(count: int, plan: Plan = IMAGES, *, full: bool = False) -> list[FrozenTrial]:
    """Trials of which one of three is trained beyond each rung; their learning rate alone decides."""
    trials = []
    for number in range(count):
        share = number * 0.618034 % 1.0  # spreads evenly, whatever the count
        last = plan.max_epochs if full else next((r for i, r in enumerate(plan.rungs) if number % 3 ** (i + 1)), 9)
        kind = ("sgd", "adam")[number % 2]
        params = {"lr": 10 ** (-4 * share), "kind": kind, "blocks": number % 9 + 1}
        params |= {"momentum": number * 0.414 % 1.0} if kind == "sgd" else {}
        top = 0.9 - abs(share - 0.5)
        values = {epoch: top * (1 - 0.5**epoch) for epoch in range(1, last + 1)}
        state = TrialState.COMPLETE if last == plan.max_epochs else TrialState.PRUNED
        trials.append(a_trial(state, values, params, 20_000 + 271 * number, {BASELINE: True} if not number else NONE))
    return trials


def page_of(study: optuna.Study, folder: Path) -> Elements:
    return Elements(write_study_page(study, folder).read_text(encoding="utf-8"))


def places(elements: Elements) -> set[str]:
    return elements.ids() - {"figures"}


# ---- what it shows


def test_a_study_of_every_fate_has_every_section_and_figure(workplace: Path) -> None:
    lost = [
        a_trial(TrialState.FAIL, {1: 0.1}, {"lr": 0.1}, attributes={REASON: "RuntimeError: no memory"}),
        a_trial(TrialState.RUNNING, {1: 0.2}, {"lr": 0.1}, attributes={PAUSED: 1}),
        a_trial(TrialState.WAITING, {}, {}),
    ]
    (workplace / "jobs.csv").write_text("trial,began,ended,epoch,outcome\n0,100,101.5,1,paused\n1,100.5,103,1,pruned\n")
    elements = page_of(a_study([*many_trials(60), *lost]), workplace)
    for heading in SECTIONS:
        assert heading in elements.text
    shown = figures(elements)
    assert set(shown) == places(elements) == FIGURES | {f"slice-{i}" for i in range(4)}
    assert "RuntimeError: no memory" in elements.text
    assert "lr decided most" in elements.text  # as it was planted
    assert {trace["name"] for trace in shown["timeline"]["data"]} == {"paused at a rung", "stopped early"}
    assert "of at most 300,000" in elements.text


def test_the_figures_hold_what_the_tables_hold(
    workplace: Path, curves: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run_search(SearchSettings(space=curves, max_trials=24, study="curves"))
    main(["--study", "curves"])
    assert f"curves/{PAGE}" in capsys.readouterr().out
    folder = Path("studies/curves")
    elements = Elements((folder / PAGE).read_text())
    drawn = [
        (number, epoch, value)
        for trace in figures(elements)["curves"]["data"]
        for number, epoch, value in zip(trace["customdata"], trace["x"], trace["y"], strict=True)
        if number is not None
    ]
    table = pd.read_csv(folder / "curves.csv")
    written = list(table[["trial", "epoch", "value"]].itertuples(index=False, name=None))
    assert sorted(drawn) == [(n, e, pytest.approx(v, abs=1e-6)) for n, e, v in sorted(written)]
    shares = pd.read_csv(folder / "importance.csv")
    assert figures(elements)["importance"]["data"][0]["x"] == pytest.approx(list(shares["share"]))
    jobs = pd.read_csv(folder / "jobs.csv")
    assert sum(len(trace["x"]) for trace in figures(elements)["timeline"]["data"]) == len(jobs) >= 24
    assert "Accuracy against size" not in elements.text  # nothing has a cost


@pytest.mark.parametrize(
    ("trials", "words"),
    [
        ([], "No trial has a value yet"),
        ([a_trial(TrialState.WAITING, {}, {})], "No trial has a value yet"),
        ([a_trial(TrialState.FAIL, {}, {}, attributes={REASON: "it broke"})], "it broke"),
        ([a_trial(TrialState.RUNNING, {}, {"lr": 0.1})], "No trial has a value yet"),
        ([a_trial(TrialState.RUNNING, {1: 0.3}, {"lr": 0.1})], "No trial has been trained in full yet"),
        ([a_trial(TrialState.PRUNED, {1: 0.3}, {"lr": 0.1})], "Too few trials to tell"),
        (many_trials(1, full=True), "lead over the baseline"),
        (many_trials(2, full=True), "2 of 2 trials were trained in full"),
    ],
)
def test_few_trials_make_a_sensible_page(workplace: Path, trials: list[FrozenTrial], words: str) -> None:
    elements = page_of(a_study(trials), workplace)
    assert words.lower() in elements.text.lower()
    assert set(figures(elements)) == places(elements)
    assert "To repeat this" in elements.text


def fates() -> st.SearchStrategy[FrozenTrial]:
    """Any trial, with none, some or all of the parameters."""
    values = st.dictionaries(st.integers(1, 9), st.floats(0, 1), max_size=9)
    params = st.fixed_dictionaries(
        {},
        optional={
            "lr": st.floats(1e-4, 1.0),
            "kind": st.sampled_from(("sgd", "adam")),
            "momentum": st.floats(0, 1),
            "blocks": st.integers(1, 9),
        },
    )
    states = st.sampled_from((TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING))
    some = st.builds(a_trial, states, values, params, st.integers(1, 10**8))
    whole = st.builds(a_trial, st.just(TrialState.COMPLETE), values.filter(bool), params)
    return st.one_of(some, whole)


@settings(max_examples=12)
@given(trials=st.lists(fates(), max_size=40), direction=st.sampled_from(("maximize", "minimize")))
def test_every_place_has_its_figure(
    tmp_path_factory: pytest.TempPathFactory, trials: list[FrozenTrial], direction: Literal["maximize", "minimize"]
) -> None:
    elements = page_of(a_study(trials, direction=direction), tmp_path_factory.mktemp("study"))
    assert set(figures(elements)) == places(elements)
    assert "NaN" not in elements.scripts[0]


@pytest.fixture
def a_thousand(workplace: Path) -> Path:
    """The page of a study of a thousand trials of 81 epochs."""
    plan = replace(IMAGES, max_epochs=81)
    return write_study_page(a_study(many_trials(1000, plan, full=True), plan), workplace)


@pytest.mark.slow
def test_a_thousand_long_trials_open_in_three_seconds(a_thousand: Path, browser: Browser, workplace: Path) -> None:
    empty = workplace / "empty.html"
    empty.write_text("<p>nothing</p>")
    pages = {page: [browser.seconds(page, workplace / "seen.png") for _ in range(3)] for page in (empty, a_thousand)}
    assert min(pages[a_thousand]) - min(pages[empty]) < 3.0


def test_a_thousand_long_trials_stay_below_eight_megabytes(a_thousand: Path) -> None:
    path = a_thousand
    assert path.stat().st_size < 8_000_000
    points = sum(len(trace["x"]) for trace in figures(Elements(path.read_text()))["curves"]["data"])
    assert MOST_POINTS / 2 < points < 1.5 * MOST_POINTS


def test_hostile_text_stays_text(workplace: Path) -> None:
    trials = [
        a_trial(
            TrialState.PRUNED,
            {1: 0.5 + number / 100},
            {HOSTILE[0]: HOSTILE[number % 4], "lr": 0.1 + number / 100},
            attributes={REASON: HOSTILE[1], CANDIDATE: {"name": HOSTILE[2]}},
        )
        for number in range(24)
    ]
    for trial in trials:
        trial.distributions[HOSTILE[0]] = CategoricalDistribution(HOSTILE)
    trials.append(a_trial(TrialState.FAIL, {}, {}, attributes={REASON: HOSTILE[3]}))
    elements = page_of(a_study(trials), workplace)
    assert len(elements.scripts) == 3
    assert "<" not in elements.scripts[0]
    assert elements.count("img") == 0
    assert HOSTILE[3] in elements.text
    for figure in figures(elements).values():
        for trace in figure["data"]:
            assert "<a href" not in json.dumps(trace).replace("\\u003c", "<")
    assert {attributes.get("href") for tag, attributes in elements.tags} == {None, "study.toml"}


# ---- runs and finalists


def a_run(folder: Path, title: str) -> None:
    """The files of a finished run that the study's page reads."""
    folder.mkdir(parents=True)
    asked = {"candidate": "a", "data": "b", "seed": 0}
    record = {"title": title, "asked": asked, "epochs": 9, "device": "CPU", "source": "toy", "train_images": 400}
    epoch = {"epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5, "val_loss": None, "val_accuracy": None}
    record |= {"val_images": 0, "history": [epoch | {"lr": 0.1, "images": 400, "seconds": 90.0}]}
    (folder / "run.json").write_text(json.dumps(record | {"finished": True, "parameters": 1234, "macs": 99}))
    classes = [{"name": name, "accuracy": value} for name, value in (("cat", 0.5), ("dog", 0.75), ("owl", 1.0))]
    (folder / "test_metrics.json").write_text(
        json.dumps({"accuracy": 0.75, "low": 0.7, "high": 0.8, "count": 400, "classes": classes})
    )


def test_finished_runs_are_told_and_linked(workplace: Path) -> None:
    study, folder, pages = a_study(many_trials(10)), workplace / "studies/built", ["the finals' page", "its page"]
    best = study_report(study, folder).standing
    assert best is not None
    a_run(folder / "runs/a run", f"trial {best.best.number} of study built")
    (folder / "runs/a run/report.html").write_text("its page")
    (folder / "runs/begun").mkdir()
    (folder / "runs/begun/run.json").write_text("{}")
    (workplace / "studies/built-finals").mkdir()
    (workplace / "studies/built-finals/report.html").write_text("the finals' page")
    for out in (None, workplace / "elsewhere"):
        path = write_study_page(study, folder, out=out)
        elements = Elements(path.read_text())
        links = [str(attributes["href"]) for tag, attributes in elements.tags if tag == "a"]
        assert links.pop() == "study.toml"
        assert [(path.parent / link.replace("%20", " ")).read_text() for link in links] == pages
        assert "Its test accuracy" in elements.text or "its test accuracy" in elements.text
        assert "cat 50\u00a0%" in elements.text
        assert re.search("cat\\s*50.0\u00a0%\\s*dog\\s*75.0\u00a0%\\s*owl\\s*100.0\u00a0%", elements.text)
        assert "1 min 30 s" in elements.text


def test_the_headline_has_the_trial_that_was_trained_where_it_is_not_the_best(workplace: Path) -> None:
    study, folder = a_study(many_trials(10)), workplace / "studies/built"
    stands = study_report(study, folder).standing
    assert stands is not None
    other = stands.best.number + 1
    a_run(folder / "runs/final", f"trial {other} of study built")
    a_run(folder / "runs/a recipe", "recipe cpu_fast")
    text = Elements(write_study_page(study, folder).read_text()).text.lower()
    assert f"trial {other}, trained in full" in text
    assert "its test accuracy" not in text


def test_finalists_are_as_their_table_has_them(workplace: Path) -> None:
    row = {"finalist": "trial 7", "seeds": "0 1", "val_mean": 0.8, "val_low": 0.7, "val_high": 0.9, "test_mean": 0.79}
    none = dict.fromkeys(("leader_less_this", "difference_low", "difference_high"))
    other = row | {"finalist": "trial 3", "val_low": None, "val_high": None, "leader_less_this": 0.02}
    other |= {"difference_low": -0.01, "difference_high": 0.05}
    pd.DataFrame([row | none, other]).to_csv(workplace / run_sections.FINALISTS, index=False)
    text = Elements(run_sections.finalists(workplace)).text
    for expected in ("trial 7", "the leader", "80.00 %", "70.00 to 90.00", "+2.00 points", "-1.00 to +5.00", "79.00 %"):
        assert expected in text


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_has_words(name: str) -> None:
    candidate = RecipeFile.named(name).candidate
    words = in_words(candidate.to_dict())
    assert all(words.values())
    mixes = candidate.recipe.augmentation.mixes
    assert (words["mixed images"] != "none") == mixes
    assert f"batches of {candidate.recipe.batch_size}" in words["optimizer"]


# ---- while a search runs


def test_the_page_is_written_every_minute_and_a_last_time(workplace: Path) -> None:
    now, path = [0.0], workplace / PAGE
    page = LivePage(a_study(many_trials(3)), workplace, clock=lambda: now[0])
    page.event(TrialStarted(3, "a candidate", 10, 20))
    now[0] = INTERVAL - 1
    page.event(TrialEnded(3, TrialOutcome.PAUSED, 0.5, 1, "waits"))
    assert not path.exists()
    assert len((workplace / "jobs.csv").read_text().splitlines()) == 2
    now[0] = INTERVAL
    page.event(TrialEnded(3, TrialOutcome.PAUSED, 0.5, 1, "waits"))
    assert f'http-equiv="refresh" content="{REFRESH}"' in path.read_text()
    path.unlink()
    page.event(TrialEnded(3, TrialOutcome.PAUSED, 0.5, 1, "waits"))
    assert not path.exists()
    assert page.finish() == path
    assert 'http-equiv="refresh"' not in path.read_text()


def test_a_page_that_cannot_be_written_ends_no_search(workplace: Path) -> None:
    now = [0.0]
    page = LivePage(a_study(many_trials(3)), workplace / "file" / "folder", clock=lambda: now[0])
    (workplace / "file").write_text("no folder")
    now[0] = INTERVAL
    page.event(TrialStarted(3, "a candidate", 10, 20))
    page.event(TrialEnded(3, TrialOutcome.PAUSED, 0.5, 1, "waits"))
    assert page.due == 2 * INTERVAL


# ---- in a browser


@pytest.mark.parametrize("width", [pytest.param(1280, marks=pytest.mark.slow), 500])
def test_a_browser_draws_every_figure(workplace: Path, browser: Browser, width: int) -> None:
    (workplace / "jobs.csv").write_text("trial,began,ended,epoch,outcome\n0,100,101.5,1,paused\n1,100.5,103,1,pruned\n")
    elements = page_of(a_study(many_trials(60)), workplace)
    opened = browser.open(workplace / PAGE, width)
    assert opened.console == []
    assert places(elements) >= FIGURES
    assert all(map(opened.draws, places(elements)))
    widths = [int(found) for found in re.findall(r'class="main-svg"[^>]* width="(\d+)"', opened.dom)]
    assert widths
    assert max(widths) <= max(width, 640)  # 40rem: the one figure that scrolls


@pytest.mark.slow
def test_it_prints_on_few_pages(workplace: Path, browser: Browser) -> None:
    page_of(a_study(many_trials(60)), workplace)
    browser.pdf(workplace / PAGE, workplace / "page.pdf")
    pages = re.findall(rb"/Type /Page\b", (workplace / "page.pdf").read_bytes())
    assert 5 <= len(pages) <= 14  # fourteen figures and eight tables; a figure a page would be over twenty
