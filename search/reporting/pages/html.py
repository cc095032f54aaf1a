"""Self-contained HTML pages with figures: they open without a network, and nothing in a name or a setting can run.

A page carries plotly.js itself. Its content security policy allows no request, no script but its own two (by
hash) and no image but those it carries. Numbers stand in tables too: a page can be read without the figures,
aloud, or printed.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import plotly.graph_objects as go

LABEL_LENGTH = 18
"""Longest class name in a figure, in characters; tables show all of it."""


def document(title: str, body: str, figures: Mapping[str, go.Figure]) -> str:
    """The whole page.

    Args:
        title: of the page, as text.
        body: HTML, in which every text is escaped.
        figures: by the key that `figure` gave their place in the body.
    """
    from plotly.offline import get_plotlyjs

    library, drawing = _script(get_plotlyjs()), _script(_DRAW)
    allowed = f"img-src data: blob:; style-src 'unsafe-inline'; script-src {library[0]} {drawing[0]}"
    plots = {name: json.loads(plot.to_json(engine="json")) for name, plot in figures.items()}
    data = json.dumps(plots, separators=(",", ":")).replace("<", "\\u003c")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; {allowed}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
{body}
<script type="application/json" id="figures">{data}</script>
{library[1]}
{drawing[1]}
</body>
</html>
"""


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
    """The headline's numbers: label, value, and a note that may be empty."""
    return "<dl class=tiles>" + "".join(_tile(*one) for one in figures) + "</dl>"


def _tile(label: str, value: str, note: str) -> str:
    small = f"<dd class=note>{escape(note)}</dd>" if note else ""
    return f"<div><dt>{escape(label)}</dt><dd class=value>{escape(value)}</dd>{small}</div>"


def figure(key: str, heading: str, caption: str, *, kind: str = "", height: int = 320) -> str:
    """The place of a figure, with its heading and caption; `height` in pixels."""
    return (
        f'<figure class="{kind}"><h3>{escape(heading)}</h3>'
        f'<div class=plot id="{key}" role=img aria-label="{escape(heading)}. {escape(caption)}"'
        f' style="--height:{height}px"></div><figcaption>{escape(caption)}</figcaption></figure>'
    )


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, kind: str = "") -> str:
    """A table whose first column names the rows; without column names it has no head."""
    named = any(columns)
    head = "".join(f"<th scope=col>{escape(name)}</th>" if name else "<td></td>" for name in columns)
    body = "".join(
        f"<tr><th scope=row>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for first, *cells in rows
    )
    thead = f"<thead><tr>{head}</tr></thead>" if named else ""
    title = escape(caption)
    return (
        f'<div class="scroll {kind}" role=region aria-label="{title}" tabindex=0>'
        f"<table><caption>{title}</caption>{thead}<tbody>{body}</tbody></table></div>"
    )


def details(summary: str, content: str) -> str:
    """Content that opens on demand."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def note(text: str) -> str:
    """A paragraph in small print."""
    return f"<p class=note>{escape(text)}</p>"


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


def name_axis(names: Sequence[str]) -> dict[str, object]:
    """Positions 0, 1, ... with names beside them: two classes of one name stay two."""
    return {"tickvals": list(range(len(names))), "ticktext": [plot_text(name) for name in names]}


def plot_text(name: str, length: int = LABEL_LENGTH) -> str:
    """A name for a figure: short, and plain text to plotly, which reads some HTML."""
    short = name if len(name) <= length else name[: length - 1] + "\u2026"
    return escape(short, quote=False)


_STYLE = """
:root {
  color-scheme: light dark;
  --page: #f4f6f8; --card: #ffffff; --text: #1b2733; --muted: #55626f; --line: #d5dbe1; --grid: #e8ecf0;
  --train: #0072b2; --val: #d55e00; --lr: #007a5a; --bar: #5ba3d0; --accent: #0068a3;
  --heat-0: #ffffff; --heat-1: #8fbfe0; --heat-2: #08457e;
  --c0: #0072b2; --c1: #d55e00; --c2: #00875f; --c3: #b5488c; --c4: #a07800;
  --c5: #2a9fd6; --c6: #6a4fb3; --c7: #8c4a3b; --c8: #5b6770; --c9: #c2185b;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #10151a; --card: #182027; --text: #e6ebf0; --muted: #9fadba; --line: #35414c; --grid: #26313a;
    --train: #56b4e9; --val: #f0a63c; --lr: #35c79a; --bar: #2f7fb3; --accent: #6cc0f0;
    --heat-0: #1d2730; --heat-1: #245f8c; --heat-2: #a9dbff;
    --c0: #56a8e8; --c1: #ff8a3d; --c2: #2fc79a; --c3: #e58cc4; --c4: #e0b93f;
    --c5: #8fd3ff; --c6: #b39cff; --c7: #d99a8b; --c8: #a9b6c2; --c9: #ff7096;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1.25rem 3rem; max-width: 72rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; overflow-wrap: anywhere;
}
h1 { margin: 0 0 1.25rem; font-size: 1.6rem; line-height: 1.25; font-weight: 650; }
h2 { margin: 2.75rem 0 .9rem; font-size: 1.2rem; font-weight: 650; }
h3 { margin: 0 0 .5rem; font-size: 1rem; font-weight: 600; }
.tiles { display: flex; flex-wrap: wrap; gap: 1rem; margin: 0; }
.tiles div {
  flex: 1 1 13rem; padding: 1rem 1.25rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .6rem;
}
.tiles div:first-child { border-left: .35rem solid var(--accent); }
dt, .note, caption, figcaption { color: var(--muted); font-size: .875rem; }
dt::first-letter { text-transform: uppercase; }
dd { margin: 0; }
.value { font-size: 1.9rem; line-height: 1.3; font-weight: 650; font-variant-numeric: tabular-nums; }
.grid {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); gap: 1.25rem;
  align-items: start;
}
.grid > * { min-width: 0; }
.wide { grid-column: 1 / -1; }
figure, .scroll, details {
  margin: 0; padding: 1rem 1.25rem; background: var(--card); border: 1px solid var(--line);
  border-radius: .6rem;
}
.plot { width: 100%; height: var(--height); }
figcaption { margin-top: .5rem; }
ul + figcaption { margin-top: 1rem; }
.scroll { overflow-x: auto; }
.scroll + details, section > .grid + details { margin-top: 1.25rem; }
details .scroll { margin-top: .75rem; padding: 0; border: 0; }
table { width: 100%; border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { padding-bottom: .6rem; text-align: left; }
th, td {
  padding: .4rem; border-top: 1px solid var(--line); text-align: right; vertical-align: top;
  white-space: nowrap;
}
th { font-weight: 600; }
thead > tr > * { border-top: 0; color: var(--muted); }
tr > :first-child { padding-left: 0; text-align: left; }
tr > :last-child { padding-right: 0; }
tbody th { min-width: 5rem; max-width: 14rem; white-space: normal; overflow-wrap: break-word; }
p.note { margin: .75rem 0 0; }
.facts td { text-align: left; white-space: normal; }
.facts tbody th { width: 14rem; color: var(--muted); font-weight: 400; }
.tall { max-height: 34rem; overflow-y: auto; padding-top: 0; }
.tall caption { padding-top: 1rem; }
.tall thead { position: sticky; top: 0; background: var(--card); }
.tall td:nth-child(2), .tall th:nth-child(2) { text-align: left; }
.tall tbody th { font-weight: 400; max-width: none; white-space: nowrap; }
.gallery, .strips { list-style: none; margin: 0; padding: 0; display: grid; }
.gallery { grid-template-columns: repeat(auto-fill, 96px); gap: .9rem .65rem; justify-content: space-between; }
.gallery li { font-size: .72rem; line-height: 1.3; }
.gallery b, .gallery span { display: block; }
.gallery span { color: var(--muted); }
.gallery img, .strips img { display: block; width: 100%; aspect-ratio: 1; image-rendering: pixelated; }
.gallery img { margin-bottom: .25rem; border-radius: 3px; }
.strips { grid-template-columns: repeat(auto-fit, minmax(min(100%, 29.5rem), 1fr)); gap: 1rem 2rem; }
.strips b { font-size: .8rem; font-weight: 600; }
.strips div { display: grid; grid-template-columns: repeat(7, minmax(0, 64px)); gap: 4px; margin-top: .15rem; }
.strips img:first-child { outline: 2px solid var(--accent); outline-offset: -2px; }
@media (min-width: 64rem) { .uneven { grid-template-columns: 4fr 5fr; } }
figure + figure, figure + .scroll { margin-top: 1.25rem; }
.grid > figure + figure, .grid > figure + .scroll { margin-top: 0; }
summary { cursor: pointer; font-weight: 600; }
pre { margin: .75rem 0 0; overflow-x: auto; font-size: .85rem; line-height: 1.45; overflow-wrap: normal; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
@media (max-width: 36rem) {
  body { padding: 1.25rem .75rem 2rem; }
  figure, .scroll, details { padding: .8rem; }
  .facts tbody th { width: 8rem; }
  table { font-size: .8rem; }
  th, td { padding: .4rem .3rem; }
  .gallery { grid-template-columns: repeat(4, minmax(0, 1fr)); gap: .75rem .5rem; }
}
@media print {
  body { padding: 0; background: none; }
  figure, .scroll, .tiles div { break-inside: avoid; }
}
"""

_DRAW = """
"use strict";
const source = document.getElementById("figures").textContent;
const finePointer = matchMedia("(pointer: fine)").matches;  // a finger scrolls the page, never zooms a figure
function draw() {
  const style = getComputedStyle(document.documentElement);
  const coloured = source.replace(/"var\\((--[a-z0-9-]+)\\)"/g, (_, name) =>
    JSON.stringify(style.getPropertyValue(name).trim()));
  for (const [id, figure] of Object.entries(JSON.parse(coloured))) {
    figure.layout.dragmode = finePointer ? "zoom" : false;
    Plotly.react(document.getElementById(id), figure.data, figure.layout, {
      responsive: true,
      displaylogo: false,
      modeBarButtons: [["toImage", "resetScale2d"]],
      toImageButtonOptions: {format: "svg", filename: id},
    });
  }
}
draw();
for (const query of ["(prefers-color-scheme: dark)", "print"]) {
  matchMedia(query).addEventListener("change", draw);
}
"""
