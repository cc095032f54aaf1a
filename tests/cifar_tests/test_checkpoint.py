"""Files of weights: damage is found before anything is read, and nothing but plain data is."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from cifar.checkpoint import load, save
from cifar.errors import CheckpointError

WEIGHTS = torch.arange(300.0)
STATE = {"weights": WEIGHTS, "epochs": [1, 2], "name": "state"}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_is_found_or_changes_nothing(place: float, bit: int, tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save(path, STATE)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    try:
        read = load(path)
    except CheckpointError as error:
        assert "must be an undamaged weights file" in str(error)
    else:  # a time stamp, or padding
        assert torch.equal(read["weights"], WEIGHTS)
        assert (read["epochs"], read["name"]) == (STATE["epochs"], STATE["name"])


def test_a_flipped_bit_of_a_weight_is_told(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save(path, STATE)
    content = path.read_bytes()
    weights = WEIGHTS.numpy().tobytes()
    path.write_bytes(content.replace(weights, weights[:-1] + b"\xff"))
    with pytest.raises(CheckpointError, match=r"the checksum of archive/data/0 differs"):
        load(path)


@pytest.mark.parametrize("content", [nn.Linear(1, 1), {"path": Path("x")}])
def test_nobody_is_told_to_execute_what_is_in_a_file(content: object, tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="got more in it than tensors, numbers and strings") as caught:
        load(path)
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", pickle.dumps({"a": 1}), b"<html>"])
def test_other_files_are_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="must be an undamaged weights file"):
        load(path)
