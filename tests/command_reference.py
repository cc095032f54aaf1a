"""The command reference, made from the parsers: `make commands` writes docs/commands.md."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator
from pathlib import Path

from search.__main__ import COMMANDS
from search.cli import EXAMPLES, STATUSES, Parser

REFERENCE = Path(__file__).parents[1] / "docs/commands.md"
TITLE = """\
# Commands

Written by `make commands` from the commands' own `--help`. `python -m search` lists the commands; where the package is
installed, `cifar-search run` is the same as `python -m search.run`.
"""


def reference() -> str:
    """The text of docs/commands.md."""
    parts = [TITLE]
    for name in COMMANDS:
        parser: Parser = importlib.import_module(f"search.{name}").parser()
        parts.append("\n".join(_section(name, parser)))
    parts.append(
        "\n".join(["## Exit statuses\n", "Of every command:\n", "| status | |", "|---|---|", *_statuses(), ""])
    )
    return "\n".join(parts)


def _statuses() -> Iterator[str]:
    return (f"| {status} | {_plain(meaning)} |" for status, meaning in STATUSES.items())


def _section(name: str, parser: Parser) -> Iterator[str]:
    """A command: what it does, two examples, and a table a group of options."""
    assert parser.description
    assert parser.epilog
    yield f"## {name}\n"
    yield f"{_plain(parser.description)}\n"
    yield "```"
    yield from (line.strip() for line in parser.epilog.removeprefix(EXAMPLES).strip().splitlines())
    yield "```\n"
    for group in parser._action_groups:
        rows = [_row(parser, action) for action in group._group_actions if action.dest != "help"]
        if rows:
            yield f"| {group.title} | |"
            yield "|---|---|"
            yield from rows
            yield ""


def _row(parser: Parser, action: argparse.Action) -> str:
    names = ", ".join(f"`{name}`" for name in action.option_strings)
    shown = _plain(parser._get_formatter()._expand_help(action))
    needed = " (required)" if action.required and action.option_strings else ""
    return f"| {' '.join(filter(None, (names, _value(action))))} | {shown}{needed} |"


def _value(action: argparse.Action) -> str:
    """What follows the option's name."""
    if action.nargs == 0:
        return ""
    if action.choices:
        return " or ".join(f"`{choice}`" for choice in action.choices)
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return f"`{metavar}`" + (" ..." if action.nargs in ("+", "*") else "")


def _plain(text: str) -> str:
    """The text without what Markdown would take for its own."""
    for sign in "|*<":
        text = text.replace(sign, f"\\{sign}")
    return text


if __name__ == "__main__":
    REFERENCE.write_text(reference(), encoding="utf-8")
