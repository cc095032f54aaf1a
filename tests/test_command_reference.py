"""The command reference is what the parsers say."""

from __future__ import annotations

import importlib

import pytest

from search.__main__ import COMMANDS
from tests.command_reference import REFERENCE, reference


def test_the_reference_is_made_from_the_parsers() -> None:
    assert REFERENCE.read_text(encoding="utf-8") == reference(), "run make commands"


@pytest.mark.parametrize("name", COMMANDS)
def test_it_has_every_option_with_its_help(name: str) -> None:
    _, _, rest = reference().partition(f"\n## {name}\n")
    section = rest.partition("\n## ")[0]
    for action in importlib.import_module(f"search.{name}").parser()._actions:
        for option in set(action.option_strings) - {"-h", "--help"}:
            (row,) = (line for line in section.splitlines() if f"`{option}`" in line.split(" | ")[0])
            assert len(row.rstrip(" |").split(" | ")[1]) > 5
