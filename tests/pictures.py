"""The pictures of the README, made from a study in `studies/`: `make pictures STUDY=NAME`.

The live table is drawn as the terminal showed it late in the search, from the study's jobs and values; of the study's
page a browser shows the head, and how the search went.
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import optuna
from PIL import Image
from rich.console import Console
from rich.text import Text

from search.engine.events import EpochDone, Event, TrialEnded, TrialOutcome, TrialStarted
from search.reporting.screen.board import Board
from search.reporting.screen.live import render
from search.reporting.studies.job_log import JOBS, Job, read_jobs
from search.reporting.study_page.page import write_study_page
from search.reporting.summary import summary_of
from search.settings import SearchSettings
from search.study.attributes import record
from search.study.study import require_study, stored_plan
from tests.browser import CHROMIUM, Browser

PICTURES = Path(__file__).parents[1] / "docs/pictures"
TABLE, PAGE = "live_table.svg", "study_page.png"
COLUMNS = 110
"""Width of the terminal, in characters."""
MOMENT = 0.9
"""Share of the search's time after which the table is drawn."""
WINDOW = (1200, 905)
"""Of the browser, in pixels."""
SHOWN = "<style>main > section:not(:nth-of-type(3)) { display: none }</style>"
"""Leaves of the page's sections the one on how the search went."""
COLOURS = 128
"""Of the page's picture; all of them would make it three times as large."""


def make(study: optuna.Study, folder: Path, browser: Browser, out: Path = PICTURES) -> None:
    """Writes both pictures.

    Args:
        study: the study.
        folder: its folder.
        browser: draws the page.
        out: where to write.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / TABLE).write_text(live_table(study, read_jobs(folder / JOBS)), encoding="utf-8")
    with tempfile.TemporaryDirectory() as made:
        page = write_study_page(study, folder, out=Path(made))
        page.write_text(page.read_text(encoding="utf-8").replace("</head>", f"{SHOWN}</head>", 1), encoding="utf-8")
        browser.picture(page, out / PAGE, WINDOW)
    with Image.open(out / PAGE) as picture:
        few = picture.convert("RGB").quantize(COLOURS)
    few.save(out / PAGE, optimize=True)


def live_table(study: optuna.Study, jobs: list[Job]) -> str:
    """The table as SVG that loads nothing."""
    began, ended = jobs[0].began, max(job.ended for job in jobs)
    moment = began + MOMENT * (ended - began)
    times = iter((began,))
    board = Board(stored_plan(study), True, True, ended, None, clock=lambda: next(times, moment))
    for event in events(study, jobs, moment):
        board.update(event)
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text("$ python -m search.run --space resnet_budget5m --time-budget 15m --retrain", "bold"))
    console.print(Text("..."))
    console.print(render(board, COLUMNS))
    drawn = console.export_svg(title="the live table", unique_id="table")
    return re.sub(r"\s*@font-face \{.*?\n    \}", "", drawn, flags=re.DOTALL)


def events(study: optuna.Study, jobs: list[Job], until: float) -> Iterator[Event]:
    """What a display was told of these jobs, in their order, up to a time."""
    trials, trained = {trial.number: trial for trial in study.get_trials(deepcopy=False)}, dict[int, int]()
    images = float(stored_plan(study).train_size)
    for job in (job for job in jobs if job.began <= until):
        trial, start = trials[job.trial], trained.get(job.trial, 0)
        held = record(trial)
        yield TrialStarted(job.trial, summary_of(trial), held.parameters, held.macs, start)
        share = min(1.0, (until - job.began) / (job.ended - job.began))
        trained[job.trial] = start + int(share * (job.epoch - start))
        for epoch in range(start + 1, trained[job.trial] + 1):
            yield EpochDone(job.trial, epoch, trial.intermediate_values[epoch], 0.0, {"images": images})
        if job.ended <= until:
            yield TrialEnded(job.trial, TrialOutcome(job.outcome), None, job.epoch, "")


if __name__ == "__main__":
    settings = SearchSettings(study=sys.argv[1])
    assert CHROMIUM is not None, "no Chromium: install the package chromium"
    with tempfile.TemporaryDirectory() as profile:
        make(require_study(settings), settings.folder, Browser(CHROMIUM, Path(profile)))
