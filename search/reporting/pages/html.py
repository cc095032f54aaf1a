"""Self-contained HTML pages with figures: they open without a network, and nothing in a name or a setting can run.

A page carries everything: plotly.js, `page.css` and `page.js` are written into it. Its content security policy allows
no request, no script but its own two (by hash) and no image but those it carries. Numbers stand in tables too: a page
can be read without the figures, aloud, or printed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from itertools import zip_longest
from typing import TYPE_CHECKING
from urllib.parse import quote

from search.reporting.tables import Section, Table

if TYPE_CHECKING:
    import plotly.graph_objects as go

LABEL_LENGTH = 18
"""Longest class name in a figure, in characters; tables show all of it."""
COLOURS = 10
"""Colours of data that `page.css` defines, as `--c0` to `--c9`."""


def document(title: str, body: str, figures: Mapping[str, go.Figure], *, refresh: int | None = None) -> str:
    """The whole page.

    Args:
        title: title of the page, as plain text.
        body: HTML in which every text is escaped.
        figures: figures by the key of their place in the body, see `figure`.
        refresh: seconds after which a browser reads the file again; None is never.
    """
    library, drawing = _plotly(), _script(_resource("page.js"))
    allowed = f"img-src data: blob:; style-src 'unsafe-inline'; script-src {library[0]} {drawing[0]}"
    plots = {name: json.loads(plot.to_json(engine="json")) for name, plot in figures.items()}
    data = json.dumps(plots, separators=(",", ":")).replace("<", "\\u003c")
    again = f'<meta http-equiv="refresh" content="{refresh}">\n' if refresh else ""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; {allowed}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{again}<title>{escape(title)}</title>
<style>{_resource("page.css")}</style>
</head>
<body>
{body}
<script type="application/json" id="figures">{data}</script>
{library[1]}
{drawing[1]}
</body>
</html>
"""


@cache  # 5 MB to read and hash, which a search writes into its page again and again
def _plotly() -> tuple[str, str]:
    """Hash and element of plotly's library."""
    from plotly.offline import get_plotlyjs

    return _script(get_plotlyjs())


def _resource(name: str) -> str:
    """The text of a file beside this module."""
    return files("search.reporting.pages").joinpath(name).read_text(encoding="utf-8")


def _script(source: str) -> tuple[str, str]:
    """Hash for the content security policy, and element, of an inline script."""
    source = source.replace("\r\n", "\n").replace("</script", "<\\/script")
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    return f"'sha256-{digest}'", f"<script>{source}</script>"


# ---- pieces of a body


def main_part(title: str, headline: str, sections: Iterable[str]) -> str:
    """Header and sections; empty sections are left out."""
    return "\n".join(
        (
            f"<header><h1>{escape(title)}</h1>{headline}</header>",
            "<main>",
            "<noscript><p>The figures need JavaScript; the tables hold the same numbers.</p></noscript>",
            *filter(None, sections),
            "</main>",
        )
    )


def section(heading: str, content: str) -> str:
    """A section; empty without content."""
    return f"<section>\n<h2>{escape(heading)}</h2>\n{content}\n</section>" if content else ""


def tiles(figures: Iterable[tuple[str, str, str]]) -> str:
    """The numbers of the headline: label, value, and a note that may be empty."""
    return "<dl class=tiles>" + "".join(_tile(*one) for one in figures) + "</dl>"


def _tile(label: str, value: str, note: str) -> str:
    small = f"<dd class=note>{escape(note)}</dd>" if note else ""
    shown = re.sub(r"^([+-]?[\d.,]+) (\w+)$", r"\1 <small>\2</small>", escape(value))  # a unit, such as points
    return f"<div><dt>{escape(label)}</dt><dd class=value>{shown}</dd>{small}</div>"


def figure(key: str, heading: str, caption: str, *, kind: str = "", height: int = 320) -> str:
    """The place of a figure, with its heading and caption; `height` in pixels."""
    return (
        f'<figure class="{kind}"><h3>{_words(heading)}</h3>'
        f'<div class=plot id="{key}" role=img aria-label="{escape(heading)}. {escape(caption)}"'
        f' style="--height:{height}px"></div><figcaption>{_words(caption)}</figcaption></figure>'
    )


def table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, kind: str = "", links: Sequence[str] = ()
) -> str:
    """A table whose first column names the rows; without column names it has no head; see `table_of`."""
    return table_of(caption, Table(tuple(columns), tuple(tuple(row) for row in rows)), kind=kind, links=links)


def table_of(caption: str, table: Table, *, kind: str = "", links: Sequence[str] = ()) -> str:
    """The table of a report, its columns of words aligned left; without column names it has no head.

    Args:
        caption: stands above the table and names it where it is read aloud.
        table: its first column names the rows.
        kind: class in the style sheet, such as `tall`, which scrolls, or `facts`, whose cells are words.
        links: addresses that the names of the rows lead to, relative to the page; empty for none.
    """
    styles = [" class=words" if index in table.words else "" for index in range(len(table.columns))][1:]
    names = table.columns if any(table.columns) else ()
    head = "".join(
        f"<th scope=col{style}>{escape(name)}</th>" if name else "<td></td>"
        for name, style in zip(names, ["", *styles], strict=False)
    )
    body = "".join(_row(row, styles, link) for row, link in zip_longest(table.rows, links, fillvalue=""))
    thead = f"<thead><tr>{head}</tr></thead>" if head else ""
    title = escape(caption)
    return (
        f'<div class="scroll {kind}" role=region aria-label="{title}" tabindex=0>'
        f"<table><caption>{title}</caption>{thead}<tbody>{body}</tbody></table></div>"
    )


def _row(row: Sequence[str], styles: Sequence[str], link: str) -> str:
    first, *cells = row
    name = f'<a href="{escape(quote(link))}">{escape(first)}</a>' if link else escape(first)
    figures = "".join(f"<td{style}>{escape(cell)}</td>" for cell, style in zip(cells, styles, strict=True))
    return f"<tr><th scope=row>{name}</th>{figures}</tr>"


def report_parts(report: Section, caption: str) -> str:
    """The sentences, tables and notes of a report's section, without its heading; `caption` names the tables."""
    parts = [table_of(caption, part) if isinstance(part, Table) else paragraph(part) for part in report.parts]
    return "\n".join([*parts, *map(note, report.notes)])


def paragraph(text: str) -> str:
    """A sentence or more."""
    return f"<p>{_words(text)}</p>"


def _words(text: str) -> str:
    """The text, in which options such as `--seed` do not break after a hyphen, nor percentages before their sign."""
    unbroken = re.sub(r"(?<=\d) %", "\u00a0%", escape(text))
    return re.sub(r"(?<![\w-])--[a-z][a-z-]*", r"<span class=option>\g<0></span>", unbroken)


def link(words: str, address: str) -> str:
    """A paragraph that leads to another page, whose address is relative to this one."""
    return f'<p><a href="{escape(quote(address))}">{escape(words)}</a></p>'


def block(text: str) -> str:
    """Commands, a line each; one that is too long goes on below, but is copied as one line."""
    lines = "".join(f"<span>{_words(line)}</span>" for line in text.splitlines())
    return f"<pre class=block>{lines}</pre>"


def details(summary: str, content: str) -> str:
    """Content that opens on demand."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def note(text: str) -> str:
    """A paragraph in small print."""
    return f"<p class=note>{_words(text)}</p>"


def percent(share: float, digits: int = 2) -> str:
    """Such as `87.06 %`, with a space that does not break."""
    return f"{100 * share:.{digits}f}\u00a0%"


def interval(low: float, high: float, digits: int = 2) -> str:
    """Such as `86.39-87.70 %`, with an en dash."""
    return f"{100 * low:.{digits}f}\u2013{100 * high:.{digits}f}\u00a0%"


# ---- figures; colours are CSS variables, which the page's script fills in for light or dark


def new_figure() -> go.Figure:
    """An empty figure in the page's colours."""
    import plotly.graph_objects as go

    return go.Figure(layout=_layout())


def _layout() -> dict[str, object]:
    axis = {"gridcolor": "var(--grid)", "linecolor": "var(--line)", "zeroline": False, "automargin": True}
    axis |= {"ticks": "", "title": {"standoff": 12, "font": {"size": 13}}}
    return {
        "template": "none",
        "paper_bgcolor": "var(--card)",
        "plot_bgcolor": "var(--card)",
        "font": {
            "family": "system-ui, -apple-system, 'Segoe UI', sans-serif",
            "size": 13,
            "color": "var(--text)",
        },
        "margin": {"l": 48, "r": 16, "t": 34, "b": 44},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"},
        "hoverlabel": {
            "bgcolor": "var(--card)",
            "bordercolor": "var(--line)",
            "font": {"color": "var(--text)"},
        },
        "xaxis": axis,
        "yaxis": axis,
    }


def light(figure: str) -> str:
    """A figure as JSON with the colours of a light page instead of their names, for programs without the style."""
    colours = dict(re.findall(r"(--[a-z0-9-]+): (#[0-9a-f]+);", _resource("page.css").partition("}")[0]))
    return re.sub(r"var\((--[a-z0-9-]+)\)", lambda found: colours[found[1]], figure)


def name_axis(names: Sequence[str]) -> dict[str, object]:
    """Positions 0, 1, ... with names beside them: two classes of one name stay two."""
    return {"tickvals": list(range(len(names))), "ticktext": [plot_text(name) for name in names]}


def plot_text(name: str, length: int = LABEL_LENGTH) -> str:
    """A name for a figure: short, and plain text to plotly, which reads some HTML."""
    short = name if len(name) <= length else name[: length - 1] + "\u2026"
    return escape(short, quote=False)
