"""The page of a study, from what was asked to what it takes to repeat it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import optuna

from cifar.files import write_text
from search.reporting.pages import html
from search.reporting.studies.study_card import study_facts
from search.reporting.studies.study_report import StudyReport, study_report
from search.reporting.studies.study_sections import usage_section
from search.reporting.study_page import (
    choice_figures,
    history_figures,
    outcome,
    reproduce,
    run_sections,
    size_figures,
    timeline_figure,
    trust_figure,
)
from search.reporting.study_page.run_sections import RunHeadline

PAGE = "report.html"
"""The page's name in a study's folder."""
REFRESH = 60
"""Seconds after which a browser that shows a running search reads the page again."""


def write_study_page(
    study: optuna.Study, folder: Path, report: StudyReport | None = None, *, out: Path | None = None, live: bool = False
) -> Path:
    """Writes the page as one HTML file of 5 to 8 MB, whole or not at all, and the file that repeats the study.

    Returns the page's path.

    Args:
        study: a study made by `search.run`.
        folder: the study's folder.
        report: the study's figures, where they are known already.
        out: where to write; None is the study's folder.
        live: whether the search is running, so that the page will be written again.
    """
    report = report or study_report(study, folder)
    path = (out or folder) / PAGE
    address = "" if out is None else f"{Path(os.path.relpath(folder, out)).as_posix()}/"
    title, runs = f"Study {report.name}", run_sections.finished_runs(folder)
    text = html.document(
        title,
        html.main_part(
            title,
            _top(report, runs, live=live),
            [
                *_sections(study, report),
                html.section("Finalists", run_sections.finals(folder, address) + run_sections.finalists(folder)),
                html.section("Trained in full", run_sections.runs(runs, address)),
                html.section("To repeat this", reproduce.section(study, report.plan)),
            ],
        ),
        {
            **history_figures.figures(report),
            **size_figures.figures(report),
            **choice_figures.figures(report),
            **timeline_figure.figures(report),
            **trust_figure.figures(report),
        },
        refresh=REFRESH if live else None,
    )
    reproduce.write_study_file(study, report.plan, path.parent)
    write_text(path, text)
    return path


def _top(report: StudyReport, runs: Sequence[RunHeadline], *, live: bool) -> str:
    state = "The search is running; this page is read again every minute. " if live else ""
    return outcome.headline(report, runs) + html.note(f"{state}Written {time.strftime('%Y-%m-%d %H:%M')}.")


def _sections(study: optuna.Study, report: StudyReport) -> list[str]:
    asked = {name: words.replace("`", "") for name, words in study_facts(study, report.plan).items()}
    return [
        html.section("What was asked, and what came out", outcome.section(report, asked)),
        html.section("The bill", html.report_parts(usage_section(report), "Plan against actual")),
        html.section("How the search went", history_figures.section(report)),
        html.section("Accuracy against size", size_figures.section(report)),
        html.section("Which choices mattered", choice_figures.section(report)),
        html.section("When trials ran", timeline_figure.section(report)),
        html.section("Is the short run trustworthy?", trust_figure.section(report)),
        html.section("Trials without a result", outcome.failures(report)),
    ]
