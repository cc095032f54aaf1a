"""When the trials ran: the jobs of all trials in the lanes that workers filled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.engine.events import TrialOutcome
from search.format import format_duration, format_epochs
from search.reporting.pages import html
from search.reporting.studies.job_log import Job, lanes
from search.reporting.studies.study_report import StudyReport

if TYPE_CHECKING:
    import plotly.graph_objects as go

IDLE = 120.0
"""Seconds without any job after which a figure leaves the time out: the search was not running."""
COLOURS = {
    TrialOutcome.COMPLETE.value: "var(--s4)",
    TrialOutcome.PAUSED.value: "var(--s2)",
    TrialOutcome.PRUNED.value: "var(--c8)",
    TrialOutcome.FAILED.value: "var(--fail)",
}
"""Colour of a job by how it ended."""
WORDS = {
    TrialOutcome.COMPLETE.value: "trained in full",
    TrialOutcome.PAUSED.value: "paused at a rung",
    TrialOutcome.PRUNED.value: "stopped early",
    TrialOutcome.FAILED.value: "failed",
}
"""What a colour means."""


def section(report: StudyReport) -> str:
    """The place of the figure, or why there is none."""
    jobs = report.jobs
    if not jobs:
        return html.paragraph("No times of jobs are recorded: the study was searched by an earlier version.")
    starts, gaps = shown_starts(jobs)
    length = max(start + job.ended - job.began for start, job in zip(starts, jobs, strict=True))
    count, busy = max(lanes(jobs)) + 1, sum(job.ended - job.began for job in jobs)
    title = (
        f"{len(jobs):,} job{'s' * (len(jobs) != 1)} in {format_duration(length)}: {count} worker{'s' * (count > 1)} "
        f"trained {100 * busy / (length * count or 1):.0f} % of the time"
    )
    left_out = " Dotted lines are pauses between searches, left out." if gaps else ""
    caption = (
        "A bar is the training of one trial from one rung to the next; a trial that is promoted has several. What lies "
        f"between them is proposing, loading and saving.{left_out}"
    )
    return html.figure("timeline", title, caption, height=130 + 36 * count)


def figures(report: StudyReport) -> dict[str, go.Figure]:
    """The figure by its key; none without recorded jobs."""
    return {"timeline": _timeline(report.jobs)} if report.jobs else {}


def shown_starts(jobs: Sequence[Job]) -> tuple[list[float], list[float]]:
    """Seconds from the figure's left edge to each job's beginning, and to each place where idle time is left out."""
    first, end, left_out = jobs[0].began, jobs[0].began, 0.0
    starts, gaps = [], []
    for job in jobs:
        if job.began - end > IDLE:
            gaps.append(end - first - left_out)
            left_out += job.began - end
        starts.append(job.began - first - left_out)
        end = max(end, job.ended)
    return starts, gaps


def _timeline(jobs: Sequence[Job]) -> go.Figure:
    figure, (starts, gaps) = html.new_figure(), shown_starts(jobs)
    unit, seconds = ("minutes", 60.0) if starts[-1] > 180 else ("seconds", 1.0)
    placed = list(zip(jobs, starts, lanes(jobs), strict=True))
    for outcome, colour in COLOURS.items():
        members = [(job, start, lane) for job, start, lane in placed if job.outcome == outcome]
        if members:
            figure.add_bar(
                base=[start / seconds for _, start, _ in members],
                x=[(job.ended - job.began) / seconds for job, _, _ in members],
                y=[lane for _, _, lane in members],
                name=WORDS[outcome],
                orientation="h",
                marker={"color": colour, "line": {"color": "var(--card)", "width": 1}},
                customdata=[
                    f"trial {job.trial}, to {format_epochs(job.epoch)}: {format_duration(job.ended - job.began)}"
                    for job, _, _ in members
                ],
                hovertemplate="%{customdata}<extra></extra>",
            )
    for gap in gaps:
        figure.add_vline(x=gap / seconds, line={"color": "var(--muted)", "width": 1, "dash": "dot"})
    count = max(lane for _, _, lane in placed) + 1
    figure.update_layout(barmode="overlay", bargap=0.25, showlegend=True)
    figure.update_xaxes(title_text=f"{unit} of search", rangemode="tozero")
    names = [f"worker {lane + 1}" for lane in range(count)]
    figure.update_yaxes(tickvals=list(range(count)), ticktext=names, range=[count - 0.5, -0.5], showgrid=False)
    return figure
