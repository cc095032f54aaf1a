"""Tables and sections, the form of every report: for a terminal, as Markdown and as CSV files; `pages.html` makes HTML.

A module that reports returns sections; it neither prints nor formats tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from cifar.files import write_text


@dataclass(frozen=True)
class Table:
    """Cells as a person reads them."""

    columns: tuple[str, ...]
    """Heads of the columns."""
    rows: tuple[tuple[str, ...], ...]
    """Rows of one cell a column."""
    words: tuple[int, ...] = (0,)
    """Positions of the columns of words, aligned left; the others hold figures, aligned right."""
    wrap_figures: bool = False
    """Whether figures, too, may break into lines in a narrow terminal; otherwise only words do."""


@dataclass(frozen=True)
class Section:
    """A heading, what there is to say, and how to read it."""

    title: str
    """Heading; empty for none."""
    parts: tuple[str | Table, ...]
    """Sentences and tables, in order."""
    notes: tuple[str, ...] = ()
    """How the figures came about and what they do not show."""


# ---- Markdown


def markdown(sections: Sequence[Section], level: int = 2) -> list[str]:
    """Lines of Markdown, headings of this level."""
    lines: list[str] = []
    for section in sections:
        lines += [f"{'#' * level} {section.title}", ""] if section.title else []
        for part in (*section.parts, *section.notes):
            lines += [*(_table_lines(part) if isinstance(part, Table) else [part]), ""]
    return lines


def _table_lines(table: Table) -> list[str]:
    rules = ["---" if index in table.words else "---:" for index in range(len(table.columns))]
    cells = [[cell.replace("|", "\\|") for cell in row] for row in table.rows]
    return [f"| {' | '.join(row)} |" for row in (table.columns, rules, *cells)]


# ---- terminal


def print_sections(sections: Sequence[Section], console: Console, *, wrap: bool = True) -> None:
    """Prints the sections, with an empty line between them.

    Args:
        sections: the sections, in order.
        console: where to print.
        wrap: whether sentences break into lines that fit the terminal; notes always do, headings never.
    """
    for index, section in enumerate(sections):
        if index:
            console.print()
        if section.title:
            console.print(Text(section.title, "bold"), soft_wrap=True)
        before: str | Table | None = None
        for part in section.parts:
            if isinstance(part, Table):
                if isinstance(before, Table):
                    console.print()
                console.print(_rich(part))
            else:
                console.print(Text(part), soft_wrap=not wrap)
            before = part
        for note in section.notes:
            console.print(Text(note, "dim"))


def _rich(table: Table) -> RichTable:
    drawn = RichTable(box=None, pad_edge=False, header_style="dim", show_header=any(table.columns))
    for index, name in enumerate(table.columns):
        if index in table.words:
            drawn.add_column(name, overflow="fold")
        else:
            drawn.add_column(name, justify="right", overflow="fold", no_wrap=not table.wrap_figures)
    for row in table.rows:
        drawn.add_row(*map(Text, row))
    return drawn


# ---- CSV


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Writes rows by column name as a CSV file, whole or not at all; None is an empty cell."""
    write_text(path, pd.DataFrame(rows, dtype=object).to_csv(index=False, lineterminator="\n"))
