"""The README's figures come from files that commands wrote, and its pictures from a study."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from benchmarks.resumable import read
from cifar.stats.intervals import wilson_interval
from search.format import format_duration, format_percent, format_range
from search.reporting.studies.job_log import JOBS, read_jobs
from search.session import run_search
from search.settings import SearchSettings
from tests.browser import Browser
from tests.pictures import PAGE, PICTURES, TABLE, live_table, make

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BENCHMARKS = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
EARNED = ROOT / "benchmarks/results/earns_its_keep_2026-12-01.jsonl"
LARGEST = 300_000
"""Bytes of a picture."""
LONGEST = 130
"""Lines of the README."""
REGRETS = {"this engine": "engine", "random search": "random", "TPE + Hyperband": "tpe_hyperband"}
"""Rows of the README's table of regret, by the names that they have in the benchmarks."""


def cells(text: str, name: str) -> list[list[str]]:
    """The rows of tables that begin with this name."""
    rows = re.findall(rf"^\| {re.escape(name)} \|(.+)\|$", text, re.MULTILINE)
    return [[cell.strip() for cell in row.split("|")] for row in rows]


def test_it_stays_short() -> None:
    assert len(README.splitlines()) <= LONGEST


@pytest.mark.parametrize(
    ("row", "arm"),
    [("a search, and the training of its winner", "search"), ("the default recipe, `cpu_fast`, alone", "default")],
)
def test_accuracies_are_those_of_the_benchmark(row: str, arm: str) -> None:
    (held,) = (found for found in read(EARNED) if (found["arm"], found["minutes"]) == (arm, 15.0))
    right = round(held["test_accuracy"] * held["test_images"])
    ((accuracy, interval, seconds),) = cells(README, row)
    assert accuracy == format_percent(held["test_accuracy"])
    assert interval == format_range(*wilson_interval(right, held["test_images"]))
    assert seconds == format_duration(held["seconds"])
    assert f"results/{EARNED.name}" in BENCHMARKS


@pytest.mark.parametrize("row", REGRETS)
def test_regrets_are_those_of_the_benchmarks(row: str) -> None:
    ((*found,),) = cells(README, row)
    _, _, section = BENCHMARKS.partition("\n## The engine's choices\n")
    section, _, _ = section.partition("\n## ")
    first, second = ([cell.split()[0] for cell in line] for line in cells(section, REGRETS[row]))
    assert found == [f"{first[place]} and {second[place]}" for place in (0, 1, 2)]


def test_the_lead_is_that_of_the_example() -> None:
    card = (ROOT / "docs/example_study/README.md").read_text(encoding="utf-8")
    lead, low, high = re.findall(r"by \+([\d.]+) points \(95 % interval \+([\d.]+) to \+([\d.]+)\)", card)[0]
    assert f"by {lead} points ({low} to {high})" in README.replace("\n", " ")


def test_its_pictures_are_small() -> None:
    for name in (TABLE, PAGE):
        assert f"docs/pictures/{name}" in README
        assert (PICTURES / name).stat().st_size < LARGEST
    assert "url(http" not in (PICTURES / TABLE).read_text(encoding="utf-8")
    with Image.open(PICTURES / PAGE) as picture:
        assert picture.width >= 1000


@pytest.mark.slow
def test_pictures_are_made_of_a_study(curves: str, workplace: Path, browser: Browser) -> None:
    settings = SearchSettings(space=curves, study="drawn", max_trials=6)
    study = run_search(settings)
    drawn = "".join(ElementTree.fromstring(live_table(study, read_jobs(settings.folder / JOBS))).itertext())
    assert "best\N{NO-BREAK SPACE}so\N{NO-BREAK SPACE}far" in drawn
    make(study, settings.folder, browser, workplace / "pictures")
    with Image.open(workplace / "pictures" / PAGE) as picture:
        assert len(picture.convert("RGB").getcolors(1 << 20) or ()) > 3
