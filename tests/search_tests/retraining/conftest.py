"""A run of seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

RECIPE = """
[network]
blocks = [1, 1, 1]
channels = [8, 8, 8]
stem = 8
[recipe]
epochs = 3
batch_size = 64
val_size = 100
"""


@pytest.fixture
def options(toy: Path, workplace: Path) -> list[str]:
    """What `search.retrain` is given: a tiny recipe of three epochs, toy images, the folder `run`."""
    (workplace / "tiny.toml").write_text(RECIPE)
    return ["--recipe", "tiny.toml", "--data", str(toy), "--device", "cpu", "--out", "run"]
