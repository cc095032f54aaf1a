"""Commands as a person meets them: help, bad input, documented lines."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.__main__ import COMMANDS as COMMANDS_LISTED
from search.__main__ import main as search_main
from search.cli import Parser, count, duration, run_command
from search.run import main as run_main
from search.session import run_search
from search.settings import SearchSettings, StudyError
from search.study.study import require_study
from tests.search_tests.conftest import Command

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(
    path.stem for path in (ROOT / "search").glob("*.py") if "raise SystemExit(run_command(main))" in path.read_text()
)


def parser(name: str) -> Parser:
    found: Parser = importlib.import_module(f"search.{name}").parser()
    return found


def test_the_commands() -> None:
    assert {"run", "retrain", "submit", "dashboard"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_help(name: str) -> None:
    for action in parser(name)._actions:
        assert action.help, action.option_strings


@pytest.mark.parametrize("name", COMMANDS)
def test_help_prints(name: str, command: Command) -> None:
    result = command(name, "--help")
    assert result.returncode == 0
    assert f"python -m search.{name}" in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_options_import_nothing_heavy(name: str) -> None:
    heavy = {"torch", "optuna", "pandas", "plotly", "pydantic", "numpy", "rich"}
    code = f"import search.{name} as command, sys; command.parser(); print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_two_examples_that_parse(name: str) -> None:
    *_, head, first, second = parser(name).format_help().splitlines()
    assert head == "examples:"
    for line in (first, second):
        words = shlex.split(line)
        assert words[:3] == ["python", "-m", f"search.{name}"]
        parser(name).parse_args(words[3:])


@pytest.mark.parametrize("name", ["run", "retrain"])
def test_help_of_long_commands_is_in_groups(name: str) -> None:
    groups = {group.title: [action.dest for action in group._group_actions] for group in parser(name)._action_groups}
    assert groups.pop("options") == ["help"]
    assert not groups.pop("positional arguments")
    assert sorted(len(options) for options in groups.values())[0] >= 2
    assert sum(map(len, groups.values())) == len(parser(name)._actions) - 1
    assert max(map(len, groups.values())) <= 8


def documented_commands() -> list[str]:
    """Every `python -m search.…` line in the documentation."""
    texts = [path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))]
    return sorted(set(re.findall(r"python -m search\.\w+[^\n`#|]*", "\n".join(texts))))


def test_the_documentation_names_every_command() -> None:
    named = {line.split()[2].removeprefix("search.") for line in documented_commands()}
    assert named == set(COMMANDS)


@pytest.mark.parametrize("line", documented_commands())
def test_documented_commands_parse(line: str) -> None:
    words = shlex.split(line)
    name = words[2].removeprefix("search.")
    try:
        parser(name).parse_args(words[3:])
    except SystemExit as stop:
        assert stop.code in (0, None), line


def test_the_commands_are_listed(command: Command) -> None:
    assert sorted(COMMANDS_LISTED) == COMMANDS
    for arguments in ([], ["--help"]):
        result = subprocess.run([sys.executable, "-m", "search", *arguments], capture_output=True, text=True, cwd=ROOT)
        assert result.returncode == 0
        named = re.findall(r"python -m search\.(\w+)  +\w", result.stdout)
        assert named == list(COMMANDS_LISTED)


def test_a_command_is_run_by_its_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["cifar-search", "report", "--study", "none"])
    assert search_main() == 2
    assert "the study must exist; got 'none'" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["cifar-search", "retrian"])
    assert search_main() == 2
    assert capsys.readouterr().err == "error: no such command: 'retrian'. Did you mean retrain? See python -m search.\n"


def test_a_mistyped_study_lists_those_that_exist(curves: str) -> None:
    for name in ("b", "a"):
        run_search(SearchSettings(space=curves, study=name, max_trials=1))
    with pytest.raises(StudyError, match=r"got 'c' in .*Known studies: a, b\.$"):
        require_study(SearchSettings(study="c"))
    with pytest.raises(StudyError, match=r"got 'c' in .*Known studies: a\.$"):
        require_study(SearchSettings(study="c", storage="sqlite:///studies/a/study.db"))


def test_a_study_knows_its_space(curves: str, capsys: pytest.CaptureFixture[str]) -> None:
    run_main(["--space", curves, "--study", "mine", "--trials", "1", "--quiet"])
    assert re.fullmatch(r"best trial 0: 0\.\d+ after 9 of 9 epochs\n", capsys.readouterr().out)
    run_main(["--study", "mine", "--trials", "2", "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == {"event": "message", "text": "continuing study 'mine' with its 1 trial: 1 complete"}
    assert [line["event"] for line in lines[1:] if line["event"] != "epoch"] == ["started", "ended", "result"]
    assert lines[-1]["trials"] == {"complete": 1, "paused": 1}
    assert lines[-1]["best"]["trial"] == 0
    assert len(require_study(SearchSettings(study="mine")).trials) == 2


NAMED_OPTION = re.compile(r"(?<![\w(-])--[a-z]+(?:-[a-z]+)*")
FOREIGN = {
    "--upgrade",
    "--generate",
    "--backend-store-uri",
    "--logdir",
    "--dereference",
    "--hard-dereference",
    "--only",
    "--hours",
    "--head",
    "--completion",
    *("--array", "--cpus-per-task", "--gres", "--job-name", "--me", "--signal", "--time"),
}
"""Options of pip, MLflow, TensorBoard, tar, a benchmark, Ray, and `python -m search` itself; then Slurm's."""
WITH_OPTIONS = [  # documents and code; not pages, whose CSS has names of that form too
    *(ROOT / "docs").rglob("*.md"),
    ROOT / "README.md",
    *(
        path
        for name in ("cifar", "spaces", "search")
        for path in (ROOT / name).rglob("*.py")
        if "pages" not in path.parts
    ),
]


def test_every_option_that_is_named_exists() -> None:
    options = {option for name in COMMANDS for action in parser(name)._actions for option in action.option_strings}
    named = {(option, path.name) for path in WITH_OPTIONS for option in NAMED_OPTION.findall(path.read_text())}
    assert sorted((option, file) for option, file in named if option not in options | FOREIGN) == []
    assert len({option for option, _ in named} & options) > 40


BAD_INPUT = [
    ("run --space resnet_budget6m", "a space is a built-in name"),
    ("run --time-budget 0s", "longer than 0"),
    ("run --time-budget soon", "a duration is a number with s, m, h or d"),
    ("run --trials 0", "a whole number of at least 1"),
    ("run --param-budget lots", "a count is a positive whole number"),
    ("run --param-budget 300k,300k", "--param-budget must name each limit once; got 300000,300000"),
    ("run --param-budget 1k --data {toy}", "this space needs limits of at least"),
    ("run --eta 1", "--eta must be 2 or more; got 1"),
    ("run --min-epochs 9 --max-epochs 3", "--min-epochs must not exceed --max-epochs"),
    ("run --sampler psychic", "invalid choice: 'psychic'"),
    ("run --data nowhere.tar", "a data source must exist; got nowhere.tar"),
    ("run --data {text}", "got"),
    ("run --device abacus --data {toy}", "a device is auto, cpu, cuda"),
    ("run --no-such-option", "unrecognized arguments"),
    ("run --study a/b", "plain folder name"),
    ("run --split 1.5", "a share is a number between 0 and 1; got '1.5'"),
    ("run --split 0.5 --data {toy}", "--split is for images that are not split yet"),
    ("run --val-size 400 --data {toy}", "--val-size must leave images to train on"),
    ("run --storage nonsense://x --data {toy}", "--storage must be a reachable"),
    ("retrain --study none", "the study must exist; got 'none'"),
    ("retrain --recipe resnet999", "a recipe has one of the built-in names; got 'resnet999'"),
    ("retrain --recipe {text}.toml", "file that exists"),
    ("retrain --epochs -3 --recipe resnet_fast", "a number above 0 is needed"),
    ("submit --model nowhere --pkl x.pkl", "a run is the folder of a finished run, with run.json in it, or its name"),
    ("submit --model . --pkl x.pkl", "a trained model is a folder with weights.pt"),
    ("run --tme-budget 5m", "unrecognized arguments: --tme-budget 5m. Did you mean --time-budget? See"),
    ("run --config none.toml", "a TOML file must be a file that exists; got none.toml"),
    ("run --quiet --json", "not allowed with argument"),
    ("submit --pkl x.pkl", "required: --model"),
    ("report --study none", "the study must exist; got 'none'"),
    ("dashboard --study none", "the study must exist"),
    ("dashboard --port 99999", "a port is a whole number in 0..65535"),
]


@pytest.mark.parametrize(("line", "words"), BAD_INPUT)
def test_bad_input_is_one_line_and_status_2(
    line: str, words: str, toy: Path, workplace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (workplace / "text").write_text("no images here")
    before = {path for path in workplace.rglob("*") if "cache" not in path.parts}
    name, *arguments = shlex.split(line.format(toy=toy, text=workplace / "text"))
    module = importlib.import_module(f"search.{name}")
    try:
        status = run_command(module.main, arguments)
    except SystemExit as stop:
        status = int(stop.code or 0)
    errors = capfd.readouterr().err
    assert status == 2
    assert words in errors
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert "Traceback" not in errors
    after = {path for path in workplace.rglob("*") if "cache" not in path.parts}
    assert {path for path in after - before if path.is_file()} == set()


@given(st.integers(1, 10**6))
def test_durations(seconds: int) -> None:
    assert duration(str(seconds)) == duration(f"{seconds}s") == seconds
    assert duration(f"{seconds}m") == 60 * seconds
    assert duration(f"1h{seconds}m") == 3600 + 60 * seconds
    assert duration("1.5h") == 5400


@pytest.mark.parametrize("text", ["", "m", "10x", "-5m", "10 m", "0", "5mm", "1h30"])
def test_wrong_durations(text: str) -> None:
    if text == "1h30":
        assert duration(text) == 3630  # a bare number counts seconds
        return
    with pytest.raises(argparse.ArgumentTypeError, match="duration"):
        duration(text)


def test_counts() -> None:
    assert (count("5M"), count("300k"), count("4.9M"), count("5_000_000"), count("17")) == (
        5_000_000,
        300_000,
        4_900_000,
        5_000_000,
        17,
    )
    for text in ("0", "-1", "1.5", "many", "5 M", ""):
        with pytest.raises(argparse.ArgumentTypeError):
            count(text)
