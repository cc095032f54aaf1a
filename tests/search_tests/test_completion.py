"""Completion in a real bash."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from search.__main__ import COMMANDS
from search.completion import script
from search.settings import PRUNERS

BASH = shutil.which("bash")


def completed(*words: str) -> set[str]:
    """What bash offers for the last of the words."""
    assert BASH is not None
    line = " ".join(f"'{word}'" for word in ("cifar-search", *words))
    ask = f'COMP_WORDS=({line}); COMP_CWORD={len(words)}; _cifar_search; echo "${{COMPREPLY[@]}}"'
    return set(
        subprocess.run([BASH, "-c", script(COMMANDS) + ask], capture_output=True, text=True, check=True).stdout.split()
    )


@pytest.mark.skipif(BASH is None, reason="no bash")
def test_commands_options_and_choices_are_completed() -> None:
    assert completed("") == set(COMMANDS)
    assert completed("re") == {"retrain", "report"}
    assert completed("run", "--re") == {"--retrain", "--replicate"}
    assert completed("run", "--pruner", "") == set(PRUNERS)
    assert completed("run", "--pruner", "h") == {"hyperband"}
    assert completed("predict", "") == set()  # bash's own, file names
