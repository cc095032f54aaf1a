"""Sections of words and tables, for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text


@dataclass(frozen=True)
class Table:
    """Cells as a person reads them; the first column is of names, the others are figures."""

    columns: tuple[str, ...]
    """Their heads."""
    rows: tuple[tuple[str, ...], ...]
    """One cell a column."""


@dataclass(frozen=True)
class Section:
    """A heading, what there is to say, and how to read it."""

    title: str
    """The heading."""
    parts: tuple[str | Table, ...]
    """Sentences and tables, in order."""
    notes: tuple[str, ...] = ()
    """How the figures came about and what they do not show."""


def markdown(sections: Sequence[Section], level: int = 2) -> list[str]:
    """Lines of Markdown, headings of this level."""
    lines: list[str] = []
    for section in sections:
        lines += [f"{'#' * level} {section.title}", ""]
        for part in (*section.parts, *section.notes):
            lines += [*(_table_lines(part) if isinstance(part, Table) else [part]), ""]
    return lines


def _table_lines(table: Table) -> list[str]:
    rules = ["---", *("---:" for _ in table.columns[1:])]
    cells = [[cell.replace("|", "\\|") for cell in row] for row in table.rows]
    return [f"| {' | '.join(row)} |" for row in (table.columns, rules, *cells)]


def print_sections(sections: Sequence[Section], console: Console) -> None:
    """Shows the sections in a terminal."""
    for index, section in enumerate(sections):
        if index:
            console.print()
        console.print(Text(section.title, "bold"))
        for part in section.parts:
            console.print(_rich(part) if isinstance(part, Table) else Text(part))
        for note in section.notes:
            console.print(Text(note, "dim"))


def _rich(table: Table) -> RichTable:
    shown = RichTable(box=None, pad_edge=False, header_style="dim")
    for index, name in enumerate(table.columns):
        shown.add_column(name, justify="right" if index else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(cell) for cell in row))
    return shown
