"""Malformed command lines end with exit status 2 and one short line that names the option; nothing is begun."""

from __future__ import annotations

from pathlib import Path

import pytest

import search.run
from cifar.data.toy import toy_npz
from search.cli import run_command

DIGITS = "9" * 400
COUNTS = ["trials", "epoch-budget", "param-budget", "mac-budget", "min-epochs", "max-epochs", "eta", "train-size"]
LINES = [
    *((f"--{name}", DIGITS) for name in (*COUNTS, "val-size", "workers", "max-concurrent", "seed")),
    *(("--time-budget", text) for text in (DIGITS, f"{DIGITS}d", "1e9", "-1", "", "m", "1h1x", "nan", "inf")),
    *(
        ("--param-budget", text)
        for text in ("5e6", "1e400", "0", "-1", "1,", ",", "0.5", "nan", f"{DIGITS}G", "٣" * 400)
    ),
    *(("--cpus-per-trial", text) for text in ("nan", "inf", "-1", "1e400", DIGITS)),
    *(("--split", text) for text in ("1", "0", "nan", "1e-400")),
    ("--trial-timeout", DIGITS),
    ("--study", "x" * 300),
    ("--study", "ä" * 150),
    ("--study", "a\nb"),
    ("--study", "a\x00b"),
    ("--study", "a\udcff"),
    ("--study", ".."),
    ("--study", "a/b"),
    ("--space", "x" * 300 + ".py"),
    ("--space", "..:x"),
    ("--space", ".:x"),
    ("--space", "a..b:x"),
    ("--space", ":x"),
    ("--space", "os:"),
    ("--space", "os:path"),
    ("--space", "broken:space"),
    ("--storage", "://"),
    ("--prior", f"study:{'x' * 300}"),
    ("--prior", "study:"),
]


VARIABLES = [
    *(("CIFAR_DATA", value) for value in ("none.npz", " ", "x" * 300, "~no-such-user/a", "/dev/null", "broken.py")),
    *(("XDG_CACHE_HOME", value) for value in ("/dev/null", "broken.py", "x" * 300)),
]


@pytest.mark.parametrize(("name", "value"), VARIABLES, ids=lambda text: text[:40])
def test_environment_variables_are_told_likewise(
    name: str, value: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "broken.py").write_text("1 / 0\n")
    monkeypatch.setenv("CIFAR_DATA", str(toy_npz(workplace / "toy.npz", train=20, test=20, size=16)))
    monkeypatch.setenv(name, value)
    assert run_command(search.run.main, ["--space", "resnet_budget30k", "--trials", "1", "--device", "cpu"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert value.strip() in told
    assert not (workplace / "studies").exists()


@pytest.mark.parametrize("line", LINES, ids=lambda line: " ".join(line)[:40].encode("unicode_escape").decode())
def test_it_ends_with_one_line_and_status_2(
    line: tuple[str, str], workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (workplace / "broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(workplace))
    try:
        status = run_command(search.run.main, [*line, "--device", "cpu", "--data", "none.npz"])
    except SystemExit as end:  # of the parser
        status = int(str(end.code))
    told = capsys.readouterr().err
    assert status == 2
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert len(told) < 600
    named = {"--space": ("space", "study's name"), "--study": ("study's name",)}  # a study is named after its space
    assert any(words in told for words in named.get(line[0], line[:1]))
    assert not (workplace / "studies").exists()
