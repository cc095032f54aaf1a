"""Tables and sections as Markdown, in a terminal, as CSV and as HTML."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from search.reporting.pages import html
from search.reporting.tables import Section, Table, markdown, print_sections, write_csv

TABLE = Table(("x", "y", "z"), (("a|b", "1", "<c>"), ("d", "22", "e")), words=(0, 2))


def printed(sections: list[Section], width: int = 80, *, wrap: bool = True) -> list[str]:
    stream = io.StringIO()
    print_sections(sections, Console(file=stream, width=width), wrap=wrap)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_markdown_keeps_its_columns() -> None:
    assert markdown([Section("A", ("Words.", TABLE), ("note",))]) == [
        "## A",
        "",
        "Words.",
        "",
        "| x | y | z |",
        "| --- | ---: | --- |",
        "| a\\|b | 1 | <c> |",
        "| d | 22 | e |",
        "",
        "note",
        "",
    ]
    assert markdown([Section("", ("Words.",))]) == ["Words.", ""]


def test_a_terminal_shows_sections_apart() -> None:
    lines = printed([Section("A [bold]", ("Words.", TABLE)), Section("", (), ("note",))])
    assert lines == ["A [bold]", "Words.", "x     y  z", "a|b   1  <c>", "d    22  e", "", "note"]


def test_nothing_is_lost_in_a_narrow_terminal() -> None:
    row = ("a name of several words", "12.50 %", "too few trials")
    flexible = Table(("name", "value", "figure"), (row,), wrap_figures=True)
    words = " ".join(printed([Section("", (flexible,))], width=25)).split()
    assert sorted(words) == sorted(" ".join((*flexible.columns, *row)).split())
    fixed = printed([Section("", (Table(("name", "value"), (row[:2],)),))], width=20)
    assert any(line.endswith("12.50 %") for line in fixed)


@pytest.mark.parametrize("wrap", [True, False])
def test_sentences_break_only_where_asked(wrap: bool) -> None:
    sentence = "one two three four five six seven"
    assert (sentence in printed([Section("", (sentence,))], width=20, wrap=wrap)) != wrap


def test_none_is_an_empty_cell(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", [{"a": 1, "b": None}, {"a": None, "b": 0.1}])
    assert (tmp_path / "t.csv").read_text() == "a,b\n1,\n,0.1\n"


def test_html_aligns_words_left_and_escapes() -> None:
    text = html.table_of("Of <all>.", TABLE)
    assert "<caption>Of &lt;all&gt;.</caption>" in text
    assert "<th scope=col>x</th><th scope=col>y</th><th scope=col class=words>z</th>" in text
    assert "<tr><th scope=row>a|b</th><td>1</td><td class=words>&lt;c&gt;</td></tr>" in text
    assert html.table("T", ("x", "y"), [("a", "1")]) == html.table_of("T", Table(("x", "y"), (("a", "1"),)))
    assert "<thead>" not in html.table("T", ("", ""), [("a", "1")])


def test_the_policy_names_the_hashes_of_the_page_s_own_scripts() -> None:
    page = html.document("title", "<main></main>", {})
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    assert len(scripts) == 2
    assert policy.group(1) == (
        f"default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src {allowed}"
    )
