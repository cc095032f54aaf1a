"""The files of retrained trials as Optuna's artifacts, so that the dashboard shows them.

Optuna attaches artifacts to trials that run, and a trial is retrained after it has ended. So nothing is stored: while
the dashboard runs, each finished run of a trial is offered under a random id, its confusion matrix as a picture and its
page. What people upload in the dashboard lies in the study's folder `artifacts`.
"""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import BinaryIO

import pandas as pd
from optuna.artifacts import FileSystemArtifactStore

from search.reporting.study_page.run_sections import PAGE, RunHeadline, finished_runs

ARTIFACTS = "artifacts"
"""Folder of what people upload, in the study's."""
KEY = "artifacts:"
"""Beginning of the keys under which Optuna stores what is known of an artifact (optuna/artifacts/_upload.py)."""
CONFUSION = "test_confusion.csv"
"""A run's confusion matrix: a row a true class, a column a predicted one."""
SIDE, MARGIN = 34, 96
"""Pixels of a cell of the picture, and beside the cells for the classes' names."""
MOST_COUNTED = 20
"""Classes up to which the cells have room for counts."""


class RunArtifacts:
    """An artifact store of a study: its runs, which are only read, and what people upload.

    Args:
        folder: the study's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = uuid.uuid4()  # ids that no other page can guess: the dashboard lets every page read artifacts
        self.files: dict[str, Path] = {}
        self.uploads = FileSystemArtifactStore(folder / ARTIFACTS)

    def runs(self) -> dict[int, list[RunHeadline]]:
        """The finished runs by the number of the trial."""
        found: dict[int, list[RunHeadline]] = {}
        for run in finished_runs(self.folder):
            if run.trial is not None:
                found.setdefault(run.trial, []).append(run)
        return found

    def attributes(self, runs: Iterable[RunHeadline]) -> dict[str, str]:
        """What Optuna would store of the files of these runs, by key."""
        found: dict[str, str] = {}
        for run in runs:
            name = run.folder.rpartition("/")[2]
            for file, title, kind in (
                (CONFUSION, f"{name}, confusion matrix.svg", "image/svg+xml"),
                (PAGE, f"{name}, report.html", "text/html"),
            ):
                path = self.folder / run.folder / file
                if path.exists():
                    found |= self._attribute(path, title, kind)
        return found

    def _attribute(self, path: Path, title: str, kind: str) -> dict[str, str]:
        key = str(uuid.uuid5(self.names, str(path)))
        self.files[key] = path
        held = {"artifact_id": key, "filename": title, "mimetype": kind, "encoding": None}
        return {f"{KEY}{key}": json.dumps(held)}

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """The content of an artifact.

        Raises:
            ArtifactNotFound: no such artifact.
        """
        path = self.files.get(artifact_id)
        if path is None:
            return self.uploads.open_reader(artifact_id)
        if path.name == CONFUSION:
            table = pd.read_csv(path, index_col=0, dtype={0: str})
            return io.BytesIO(confusion_picture(list(map(str, table.columns)), table.to_numpy().tolist()).encode())
        return path.open("rb")

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Keeps what a person uploads."""
        (self.folder / ARTIFACTS).mkdir(parents=True, exist_ok=True)
        self.uploads.write(artifact_id, content_body)

    def remove(self, artifact_id: str) -> None:
        """Removes what a person uploaded; the files of runs stay, also when the study is deleted.

        Raises:
            ArtifactNotFound: no such artifact.
        """
        if artifact_id not in self.files:
            self.uploads.remove(artifact_id)


def confusion_picture(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """A confusion matrix as SVG: the darker a cell, the greater its share of the true class.

    Args:
        names: the classes.
        counts: images by true class, then by predicted class.
    """
    cells = [
        _cell(row, column, count, count / (sum(line) or 1), counted=len(names) <= MOST_COUNTED)
        for row, line in enumerate(counts)
        for column, count in enumerate(line)
    ]
    width = MARGIN + SIDE * len(names) + 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {width}" width="{width}" height="{width}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#ffffff"/>'
        f"{''.join(cells)}{''.join(_names(place, name) for place, name in enumerate(names))}"
        '<text x="8" y="20">true, by predicted</text></svg>'
    )


def _cell(row: int, column: int, count: int, share: float, *, counted: bool) -> str:
    x, y = MARGIN + SIDE * column, MARGIN + SIDE * row
    cell = f'<rect x="{x}" y="{y}" width="{SIDE}" height="{SIDE}" fill="#08457e" fill-opacity="{share:.3f}"/>'
    if not (counted and count):
        return cell
    colour = "#ffffff" if share > 0.5 else "#1b2733"
    at = f'x="{x + SIDE / 2:g}" y="{y + SIDE / 2 + 4:g}"'
    return f'{cell}<text {at} text-anchor="middle" fill="{colour}">{count}</text>'


def _names(place: int, name: str) -> str:
    """A class beside its row and above its column."""
    short, middle = escape(name[:12]), MARGIN + SIDE * place + SIDE / 2
    return (
        f'<text x="{MARGIN - 6}" y="{middle + 4:g}" text-anchor="end">{short}</text>'
        f'<text transform="translate({middle + 4:g} {MARGIN - 6}) rotate(-90)">{short}</text>'
    )
