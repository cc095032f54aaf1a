"""The notebook runs from start to end, and holds no output that could age."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cifar.runtime.threads import one_thread

NOTEBOOK = Path(__file__).parents[1] / "docs/tour.ipynb"


def cells(kind: str) -> list[dict[str, Any]]:
    notebook: dict[str, Any] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def test_the_notebook_runs_from_start_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    namespace: dict[str, Any] = {}
    with one_thread():
        for cell in cells("code"):
            exec(compile("".join(cell["source"]), f"tour.ipynb {cell['id']}", "exec"), namespace)
    assert len(namespace["study"].trials) >= 5
    assert Path("studies/tour/report.html").exists()
    accuracy = namespace["result"].outcome.test.accuracy
    assert accuracy > 0.4  # chance is 0.25
    submission = pd.read_csv("submission.csv")
    assert len(submission) == 100


def test_the_notebook_is_stored_without_outputs() -> None:
    for cell in cells("code"):
        assert (cell["outputs"], cell["execution_count"]) == ([], None)
    assert len({cell["id"] for kind in ("code", "markdown") for cell in cells(kind)}) == len(cells("code")) + len(
        cells("markdown")
    )
