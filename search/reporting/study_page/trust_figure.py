"""Whether short runs tell which trials are good: rank correlations between rungs with their intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from search.reporting.pages import html
from search.reporting.studies.rank_correlation import RankCorrelation
from search.reporting.studies.study_report import StudyReport
from search.reporting.studies.study_sections import trust_section

if TYPE_CHECKING:
    import plotly.graph_objects as go


def section(report: StudyReport) -> str:
    """The verdict, the table, and the place of the figure where there is a correlation."""
    words = html.report_parts(trust_section(report), "Rank correlation between rungs")
    known = _known(report)
    if not known:
        return words
    title = "Do the ranks of a shorter training hold after a longer one? 1 is fully, 0 not at all"
    caption = "Spearman's rank correlation of the trials at both rungs; whiskers are 95 % intervals."
    return f"{words}\n<div class=after>{html.figure('trust', title, caption, height=110 + 40 * len(known))}</div>"


def figures(report: StudyReport) -> dict[str, go.Figure]:
    """The figure by its key; none without a correlation."""
    known = _known(report)
    return {"trust": _whiskers(known)} if known else {}


def _known(report: StudyReport) -> list[RankCorrelation]:
    return [pair for pair in report.correlations if pair.rho is not None]


def _whiskers(pairs: list[RankCorrelation]) -> go.Figure:
    figure = html.new_figure()
    rhos = [pair.rho or 0.0 for pair in pairs]
    ends = [pair.interval or (rho, rho) for pair, rho in zip(pairs, rhos, strict=True)]
    figure.add_scatter(
        x=rhos,
        y=list(range(len(pairs))),
        mode="markers",
        marker={"size": 11, "color": "var(--c0)"},
        error_x={
            "array": [high - rho for (_, high), rho in zip(ends, rhos, strict=True)],
            "arrayminus": [rho - low for (low, _), rho in zip(ends, rhos, strict=True)],
            "color": "var(--c0)",
            "thickness": 2,
            "width": 5,
        },
        customdata=[
            f"{pair.both} trials, {low:.2f} to {high:.2f}" for pair, (low, high) in zip(pairs, ends, strict=True)
        ],
        hovertemplate="%{x:.2f} (%{customdata})<extra></extra>",
    )
    figure.add_vline(x=0, line={"color": "var(--text)", "width": 1})
    figure.update_layout(showlegend=False)
    figure.update_xaxes(title_text="rank correlation", range=[-1.05, 1.05])
    names = [f"{pair.low} and {pair.high} epochs" for pair in pairs]
    figure.update_yaxes(
        tickvals=list(range(len(pairs))), ticktext=names, range=[len(pairs) - 0.5, -0.5], showgrid=False
    )
    return figure
