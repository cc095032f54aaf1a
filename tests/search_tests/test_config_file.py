"""Options from a file: as on the command line, which wins; a study's own file repeats it."""

from __future__ import annotations

import argparse
import re
import tomllib
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cifar.data.prepare import OFFICIAL
from cifar.errors import ConfigError
from search.config_file import parse_with_file, write_options
from search.planning.plan import Plan
from search.report import main as report_main
from search.reporting.study_page.reproduce import STUDY_FILE, options
from search.run import main as run_main
from search.run import parser
from search.settings import SearchSettings
from search.study.attributes import PRIOR, SOURCE
from search.study.study import require_study

ROOT = Path(__file__).parents[2]
FILE = """
study = "mine"
time-budget = "1h30m"
trials = 12
param-budget = ["300k", 1_000_000]
split = 0.8
workers = "auto"
warm-start = false
retrain = true
"""


def parsed(path: Path, *arguments: str) -> argparse.Namespace:
    return parse_with_file(parser(), ["--config", str(path), *arguments])


@pytest.fixture
def file(workplace: Path) -> Path:
    path = workplace / "study.toml"
    path.write_text(FILE)
    return path


def test_a_file_says_what_the_command_line_would(file: Path) -> None:
    line = "--study mine --time-budget 1h30m --trials 12 --param-budget 300k,1000000 --split 0.8 --workers auto"
    from_line = vars(parser().parse_args([*line.split(), "--no-warm-start", "--retrain"]))
    assert vars(parsed(file)) == from_line | {"config": file}


def test_the_command_line_wins(file: Path) -> None:
    found = parsed(file, "--trials", "3", "--no-retrain", "--warm-start", "--study", "other")
    assert (found.trials, found.retrain, found.warm_start, found.study) == (3, False, True, "other")
    assert (found.time_budget, found.split) == (5400, 0.8)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "time-budgt = '5m'",
            "unknown key 'time-budgt'; got '5m'. A key is an option's long name. Did you mean time",
        ),
        ("json = true", "unknown key 'json'"),
        ("config = 'other.toml'", "unknown key 'config'"),
        ("[run]", "unknown key 'run'"),
        ("time-budget = 'soon'", "time-budget: a duration is a number with s, m, h or d, such as 10m; got 'soon'; got"),
        ("sampler = 'psychic'", "sampler: invalid choice: 'psychic'"),
        ("trials = true", "trials must be a string, a number or an array of them; got True"),
        ("retrain = 1", "retrain must be true or false; got 1"),
        ("trials = {most = 3}", "trials must be a string, a number or an array of them; got {'most': 3}"),
        ("trials = ", "must be valid TOML"),
    ],
)
def test_a_wrong_line_is_named(file: Path, line: str, message: str) -> None:
    file.write_text(line)
    with pytest.raises(ConfigError) as raised:
        parsed(file)
    assert message in str(raised.value)
    assert "study.toml" in str(raised.value)


def test_a_missing_file_is_told(workplace: Path) -> None:
    for path in (workplace / "none.toml", workplace):
        with pytest.raises(ConfigError, match="a TOML file must be a file that exists"):
            parsed(path)


@given(st.dictionaries(st.from_regex("[a-z-]+", fullmatch=True), st.text() | st.booleans() | st.integers(0, 2**62)))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, written: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("options") / "study.toml"
    write_options(path, written, "a comment")
    assert tomllib.loads(path.read_text(encoding="utf-8")) == written


def test_official_images_have_no_path() -> None:
    study = optuna.create_study()
    plan = Plan(1, 9, 3, 1000, 500, 500, 300_000, None)
    for source, named in ((OFFICIAL, None), ("mine.npz", "mine.npz")):
        study.set_user_attr(SOURCE, source)
        assert options(study, plan).get("data") == named


def trained(name: str) -> list[tuple[dict[str, Any], dict[int, float]]]:
    """Parameters and values of a study's trials."""
    return [(trial.params, trial.intermediate_values) for trial in require_study(SearchSettings(study=name)).trials]


def test_a_study_writes_the_file_that_repeats_it(curves: str) -> None:
    chosen = ["--sampler", "random", "--pruner", "median", "--prior", "none", "--replicate", "--no-warm-start"]
    run_main(["--space", curves, "--study", "first", "--trials", "5", "--seed", "7", "--quiet", *chosen])
    file = Path("studies/first") / STUDY_FILE
    first = tomllib.loads(file.read_text())
    assert first.items() >= {"sampler": "random", "pruner": "median", "warm-start": False, "trials": 5}.items()
    assert first.keys().isdisjoint({"workers", "engine", "device"})  # as by default
    run_main(["--config", str(file), "--quiet"])
    assert trained("first-again") == trained("first")
    assert require_study(SearchSettings(study="first-again")).user_attrs[PRIOR] == {"name": "none"}
    again = tomllib.loads((Path("studies/first-again") / STUDY_FILE).read_text())
    assert again == first | {"study": "first-again-again"}


def test_the_page_names_every_choice_and_links_the_file(curves: str, workplace: Path) -> None:
    run_main(["--space", curves, "--study", "first", "--trials", "2", "--sampler", "random", "--quiet"])
    report_main(["--study", "first", "--out", str(workplace / "elsewhere")])
    page = (workplace / "elsewhere/report.html").read_text()
    assert "--trials 2 --prior space --sampler random" in re.sub("<[^>]*>", "", page)
    assert f'href="{STUDY_FILE}"' in page
    written = (workplace / "elsewhere" / STUDY_FILE).read_text()
    assert written == (Path("studies/first") / STUDY_FILE).read_text()


def test_every_variable_of_the_environment_is_documented() -> None:
    sources = [path.read_text() for name in ("cifar", "spaces", "search") for path in (ROOT / name).rglob("*.py")]
    read = {name for text in sources for name in re.findall(r'os\.environ(?:\.\w+\(|\[)"(\w+)"', text)}
    assert "CIFAR_DATA" in read
    documented = set(re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE))
    assert read - documented == set()
