"""Settings of a command from a TOML file, `--config study.toml`: options by name, which the command line overrules.

param-budget = ["300k", "1M"]
time-budget = "2h"
retrain = true
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from cifar.errors import ConfigError
from search.cli import Parser, nearest

Value = str | int | float | bool | Sequence[str | int]
"""What an option may be set to; several values are those of an option that takes them with commas between."""


def parse_with_file(parser: Parser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parses a command line whose `--config`, where it has one, gives the options that the line leaves out.

    Raises:
        ConfigError: the file is missing or no TOML, or has an unknown key or a value that the option does not take.
    """
    parsed = parser.parse_args(arguments)
    if parsed.config is None:
        return parsed
    from cifar.recipe import read_toml

    options, where = _options(parser), parsed.config
    for key, value in read_toml(where).items():
        if key not in options:
            remedy = f"A key is an option's long name.{nearest(key, options)} See {parser.prog} --help"
            raise ConfigError(f"{where}: unknown key {key!r}", got=repr(value), remedy=remedy)
        parser.set_defaults(**{options[key].dest: _value(parser, options[key], value, f"{where}: {key}")})
    return parser.parse_args(arguments)


def _options(parser: Parser) -> dict[str, argparse.Action]:
    """Options that a file may set, by name: those of what is done, not of what is printed."""
    shown = [action for group in parser._mutually_exclusive_groups for action in group._group_actions]
    found = {action.option_strings[0].removeprefix("--"): action for action in parser._actions if action not in shown}
    return {name: action for name, action in found.items() if action.dest not in ("config", "help")}


def _value(parser: Parser, action: argparse.Action, value: object, where: str) -> object:
    """The value as the option's own type makes it of the text that stands for it."""
    switch, help_of = action.nargs == 0, f"See {parser.prog} --help"
    if isinstance(value, bool) is not switch or isinstance(value, dict):
        rule = "must be true or false" if switch else "must be a string, a number or an array of them"
        raise ConfigError(f"{where} {rule}", got=repr(value), remedy=help_of)
    if switch:
        return value
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    try:
        made: object = parser._get_value(action, text)
        parser._check_value(action, made)
    except argparse.ArgumentError as error:
        raise ConfigError(f"{where}: {error.message}", got=repr(value), remedy=help_of) from None
    return made


def write_options(path: Path, options: Mapping[str, Value], comment: str) -> None:
    """Writes a file for `--config`, whole or not at all.

    Args:
        path: the file.
        options: values by the options' long names.
        comment: one line on top.
    """
    from cifar.files import write_text

    lines = (f"{key} = {_literal(value)}" for key, value in options.items())
    write_text(path, "\n".join([f"# {comment}", *lines, ""]))


def _literal(value: Value) -> str:
    """A TOML value: written as JSON's, but that strings escape DEL too."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
