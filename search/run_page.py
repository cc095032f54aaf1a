"""One self-contained HTML page of a finished training run; opens without a network.

The page carries plotly.js itself. Its content security policy allows no request and no script but its own two
(by hash), so nothing is loaded from elsewhere and nothing hidden in a name or a setting can run.
Numbers stand in tables too: the page can be read without the figures, aloud, or printed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from cifar.checkpoint import write_text
from cifar.evaluate import Evaluation

if TYPE_CHECKING:
    import plotly.graph_objects as go

Epoch = Mapping[str, float]

LABEL_LENGTH = 18
"""Longest class name in a figure, in characters; tables show all of it."""
ANNOTATED_CLASSES = 20
"""Most classes whose confusion matrix still has room for counts."""
CONFUSED_PAIRS = 8
"""Rows of the table of most frequent confusions."""


@dataclass(frozen=True)
class RunPage:
    """What the page of one run shows."""

    title: str
    """Names the run, such as "trial 12 of study resnet_budget5m"."""
    facts: Mapping[str, str]
    """Name and value of what describes the run; one called "parameters" is repeated in the headline."""
    history: Sequence[Epoch]
    """One mapping an epoch: epoch, train_loss, train_accuracy, val_loss, val_accuracy, lr, seconds.

    Accuracies are in [0, 1]. A key may be absent; NaN and infinity leave a gap."""
    evaluations: Mapping[str, Evaluation]
    """By name, such as "test"; the first is the main one: headline, per-class figures, confusion matrix."""
    candidate: Mapping[str, object]
    """JSON-like network and recipe."""

    def __post_init__(self) -> None:
        if not self.evaluations:
            raise ValueError("a run page needs at least one evaluation; got none")


def write_run_page(path: Path, page: RunPage) -> None:
    """Writes the page as one HTML file of about 5 MB, whole or not at all."""
    write_text(path, _document(page))


def _document(page: RunPage) -> str:
    from plotly.offline import get_plotlyjs

    library, script = _script(get_plotlyjs()), _script(_DRAW)
    allowed = f"img-src data: blob:; style-src 'unsafe-inline'; script-src {library[0]} {script[0]}"
    figures = json.dumps(_figures(page), separators=(",", ":")).replace("<", "\\u003c")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; {allowed}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(page.title)}</title>
<style>{_STYLE}</style>
</head>
<body>
{_body(page)}
<script type="application/json" id="figures">{figures}</script>
{library[1]}
{script[1]}
</body>
</html>
"""


def _script(source: str) -> tuple[str, str]:
    """Hash for the content security policy, and element, of an inline script."""
    source = source.replace("\r\n", "\n").replace("</script", "<\\/script")
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    return f"'sha256-{digest}'", f"<script>{source}</script>"


# ---- HTML


def _body(page: RunPage) -> str:
    name, main = next(iter(page.evaluations.items()))
    parts = [
        f"<header><h1>{escape(page.title)}</h1>{_headline(page)}</header>",
        "<main>",
        "<noscript><p>The figures need JavaScript; the tables hold the same numbers.</p></noscript>",
        _section("Results", _results(page.evaluations)),
        _section("Training", _training(page.history)),
        _section("Classes", _classes(name, main)),
        _section("Confusion", _confusion(name, main)),
        _section("Run", _run(page)),
        "</main>",
    ]
    return "\n".join(part for part in parts if part)


def _section(heading: str, content: str) -> str:
    return f"<section>\n<h2>{escape(heading)}</h2>\n{content}\n</section>" if content else ""


def _headline(page: RunPage) -> str:
    tiles = [
        (name, _percent(result.accuracy), f"95\u00a0% interval {_interval(result.low, result.high)}")
        for name, result in list(page.evaluations.items())[:2]
    ]
    tiles[0] = (f"{tiles[0][0]} accuracy", *tiles[0][1:])
    tiles += [(key, value, "") for key, value in page.facts.items() if key.lower() == "parameters"]
    return "<dl class=tiles>" + "".join(_tile(*tile) for tile in tiles) + "</dl>"


def _tile(label: str, value: str, note: str) -> str:
    small = f"<dd class=note>{escape(note)}</dd>" if note else ""
    return f"<div><dt>{escape(label)}</dt><dd class=value>{escape(value)}</dd>{small}</div>"


def _results(evaluations: Mapping[str, Evaluation]) -> str:
    rows = [
        (
            name,
            f"{result.count:,}",
            _percent(result.accuracy),
            _interval(result.low, result.high),
            f"{result.loss:.4f}",
            _percent(result.macro_precision),
            _percent(result.macro_recall),
            _percent(result.macro_f1),
        )
        for name, result in evaluations.items()
    ]
    columns = ("", "images", "accuracy", "95 % interval", "loss", "precision", "recall", "F1")
    note = (
        "Loss is the mean cross entropy in nats; precision, recall and F1 are means over classes. Intervals "
        "(Wilson's score interval) cover the draw of the images, not the spread between training seeds."
    )
    return f"{_table('All evaluations.', columns, rows)}<p class=note>{note}</p>"


def _training(history: Sequence[Epoch]) -> str:
    if not history:
        return ""
    curves = [
        _figure("loss", "Loss", "Mean loss of each epoch."),
        _figure("accuracy", "Accuracy", "Share of images classified correctly in each epoch."),
    ]
    if any("lr" in epoch for epoch in history):
        curves.append(_figure("lr", "Learning rate", "Learning rate of each epoch.", kind="wide", height=220))
    return f"<div class=grid>{''.join(curves)}</div>\n{_epoch_table(history)}"


def _epoch_table(history: Sequence[Epoch]) -> str:
    formats = {
        "train_loss": "{:.4f}",
        "train_accuracy": "{:.2%}",
        "val_loss": "{:.4f}",
        "val_accuracy": "{:.2%}",
        "lr": "{:.3g}",
        "seconds": "{:.1f}",
    }
    shown = {key: form for key, form in formats.items() if any(key in epoch for epoch in history)}
    rows = [
        (f"{x:g}", *(form.format(epoch[key]) if key in epoch else "\u2013" for key, form in shown.items()))
        for x, epoch in zip(_epoch_numbers(history), history, strict=True)
    ]
    columns = ("epoch", *(key.replace("_", " ").replace("lr", "learning rate") for key in shown))
    return _details("Epoch by epoch", _table("The numbers behind the curves.", columns, rows))


def _classes(name: str, result: Evaluation) -> str:
    rows = [
        (
            row.name,
            f"{row.support:,}",
            _percent(row.accuracy, 1),
            _interval(row.low, row.high, 1),
            _percent(row.precision, 1),
            _percent(row.f1, 1),
        )
        for row in result.classes
    ]
    columns = ("class", "images", "accuracy", "95 % interval", "precision", "F1")
    figure = _figure(
        "classes",
        "Accuracy per class",
        "Whiskers are 95 % intervals; the dotted line is the accuracy over all classes.",
        height=80 + 34 * len(rows),
    )
    table = _table(f"Per class: {name}.", columns, rows)
    note = "The accuracy of a class is its recall. A class that is never predicted has precision 0."
    return f"<div class=grid>{figure}<div>{table}<p class=note>{note}</p></div></div>"


def _confusion(name: str, result: Evaluation) -> str:
    figure = _figure(
        "confusion",
        f"Confusion matrix: {name}",
        "Counts of images. Colour is the square root of the share of the true class, so that errors show.",
        height=140 + 40 * len(result.classes),
    )
    return f"<div class=grid>{figure}{_confused_pairs(result)}</div>"


def _confused_pairs(result: Evaluation) -> str:
    names = [row.name for row in result.classes]
    pairs = [
        (count, true, predicted)
        for true, row in enumerate(result.confusion)
        for predicted, count in enumerate(row)
        if count and true != predicted
    ]
    rows = [
        (names[true], names[predicted], f"{count:,}", _percent(count / result.classes[true].support, 1))
        for count, true, predicted in sorted(pairs, key=lambda pair: (-pair[0], *pair[1:]))[:CONFUSED_PAIRS]
    ]
    columns = ("true", "predicted as", "images", "share")
    return (
        _table("Most frequent confusions; share of the true class.", columns, rows)
        if rows
        else "<p>No image was misclassified.</p>"
    )


def _run(page: RunPage) -> str:
    facts = _table("What was run.", ("", ""), list(page.facts.items()), kind="facts") if page.facts else ""
    settings = escape(json.dumps(page.candidate, indent=2, default=str, ensure_ascii=False))
    return facts + _details("Network and recipe (JSON)", f"<pre tabindex=0>{settings}</pre>")


def _figure(key: str, heading: str, caption: str, *, kind: str = "", height: int = 320) -> str:
    return (
        f'<figure class="{kind}"><h3>{escape(heading)}</h3>'
        f'<div class=plot id="{key}" role=img aria-label="{escape(heading)}. {escape(caption)}"'
        f' style="--height:{height}px"></div><figcaption>{escape(caption)}</figcaption></figure>'
    )


def _table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, kind: str = "") -> str:
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


def _details(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def _percent(share: float, digits: int = 2) -> str:
    return f"{100 * share:.{digits}f}\u00a0%"


def _interval(low: float, high: float, digits: int = 2) -> str:
    return f"{100 * low:.{digits}f}\u2013{100 * high:.{digits}f}\u00a0%"


# ---- figures; colours are CSS variables, which the page's script fills in for light or dark


def _figures(page: RunPage) -> dict[str, object]:
    main = next(iter(page.evaluations.values()))
    figures = {"classes": _class_bars(main), "confusion": _heat_map(main)}
    if page.history:
        figures["loss"] = _curves(page.history, "loss", "loss", ",.3~g")
        figures["accuracy"] = _curves(page.history, "accuracy", "accuracy", ".0%")
    if any("lr" in epoch for epoch in page.history):
        figures["lr"] = _learning_rate(page.history)
    return {name: json.loads(figure.to_json(engine="json")) for name, figure in figures.items()}


def _layout(**changes: object) -> dict[str, object]:
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
    } | changes


def _new_figure() -> go.Figure:
    import plotly.graph_objects as go

    return go.Figure(layout=_layout())


def _epoch_numbers(history: Sequence[Epoch]) -> list[float]:
    return [epoch.get("epoch", index) for index, epoch in enumerate(history, start=1)]


def _series(history: Sequence[Epoch], key: str) -> list[float | None]:
    values = (epoch.get(key) for epoch in history)
    return [value if value is not None and math.isfinite(value) else None for value in values]


def _curves(history: Sequence[Epoch], quantity: str, title: str, form: str) -> go.Figure:
    figure = _new_figure()
    looks = {"train": ("training", "solid", "circle"), "val": ("validation", "dash", "diamond")}
    for split, (name, dash, symbol) in looks.items():
        values = _series(history, f"{split}_{quantity}")
        if any(value is not None for value in values):
            figure.add_scatter(
                x=_epoch_numbers(history),
                y=values,
                name=name,
                mode="lines+markers",
                line={"color": f"var(--{split})", "width": 2, "dash": dash},
                marker={"size": 5 if len(history) <= 40 else 1, "symbol": symbol},
                hovertemplate=f"epoch %{{x}}: %{{y:{'.2%' if '%' in form else '.4f'}}}",
            )
    figure.update_layout(hovermode="x unified", showlegend=True)
    figure.update_xaxes(title_text="epoch", hoverformat="~g")
    figure.update_yaxes(title_text=title, tickformat=form)
    return figure


def _learning_rate(history: Sequence[Epoch]) -> go.Figure:
    figure = _new_figure()
    figure.add_scatter(
        x=_epoch_numbers(history),
        y=_series(history, "lr"),
        mode="lines+markers",
        line={"color": "var(--lr)", "width": 2},
        marker={"size": 5 if len(history) <= 40 else 1},
        hovertemplate="epoch %{x}: %{y:.4~g}<extra></extra>",
    )
    figure.update_layout(showlegend=False)
    figure.update_xaxes(title_text="epoch")
    figure.update_yaxes(title_text="learning rate", rangemode="tozero", exponentformat="e")
    return figure


def _class_bars(result: Evaluation) -> go.Figure:
    rows = result.classes
    positions = list(range(len(rows)))
    figure = _new_figure()
    figure.add_bar(
        x=[row.accuracy for row in rows],
        y=positions,
        orientation="h",
        marker={"color": "var(--bar)"},
        error_x={
            "array": [row.high - row.accuracy for row in rows],
            "arrayminus": [row.accuracy - row.low for row in rows],
            "color": "var(--text)",
            "thickness": 1.5,
            "width": 4,
        },
        customdata=[[f"{row.correct:,} of {row.support:,}", _interval(row.low, row.high, 1)] for row in rows],
        hovertemplate="%{customdata[0]} correct, 95 % interval %{customdata[1]}<extra></extra>",
    )
    figure.add_vline(x=result.accuracy, line={"color": "var(--text)", "width": 1, "dash": "dot"})
    for position, row in enumerate(rows):  # beside the bars, where no whisker is
        figure.add_annotation(
            x=1,
            xref="paper",
            xanchor="left",
            xshift=6,
            y=position,
            text=_percent(row.accuracy, 1),
            showarrow=False,
        )
    figure.update_layout(bargap=0.3, showlegend=False, margin_r=68)
    figure.update_xaxes(title_text="accuracy", tickformat=".0%", range=[0, 1])
    figure.update_yaxes(**_class_axis(result), autorange="reversed", showgrid=False)
    return figure


def _heat_map(result: Evaluation) -> go.Figure:
    names = [_label(row.name) for row in result.classes]
    shares = [[count / (sum(row) or 1) for count in row] for row in result.confusion]
    positions = list(range(len(names)))
    figure = _new_figure()
    figure.add_heatmap(
        x=positions,
        y=positions,
        z=[[math.sqrt(share) for share in row] for row in shares],
        zmin=0,
        zmax=1,
        colorscale=[[0, "var(--heat-0)"], [0.5, "var(--heat-1)"], [1, "var(--heat-2)"]],
        showscale=False,
        xgap=1,
        ygap=1,
        text=[[str(count) for count in row] for row in result.confusion],
        texttemplate="%{text}" if len(names) <= ANNOTATED_CLASSES else None,
        customdata=[
            [
                f"true {true}, predicted {predicted}: {count:,} ({_percent(share)})"
                for predicted, count, share in zip(names, counts, row, strict=True)
            ]
            for true, counts, row in zip(names, result.confusion, shares, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )
    figure.update_xaxes(**_class_axis(result), title_text="predicted", showgrid=False, tickangle=-45)
    figure.update_yaxes(**_class_axis(result), title_text="true", showgrid=False, autorange="reversed")
    return figure


def _class_axis(result: Evaluation) -> dict[str, object]:
    """Positions with names beside them: two classes of one name stay two."""
    labels = [_label(row.name) for row in result.classes]
    return {"tickvals": list(range(len(labels))), "ticktext": labels}


def _label(name: str) -> str:
    """A class name for a figure: short, and plain text to plotly, which reads some HTML."""
    short = name if len(name) <= LABEL_LENGTH else name[: LABEL_LENGTH - 1] + "…"
    return escape(short, quote=False)


_STYLE = """
:root {
  color-scheme: light dark;
  --page: #f4f6f8; --card: #ffffff; --text: #1b2733; --muted: #55626f; --line: #d5dbe1; --grid: #e8ecf0;
  --train: #0072b2; --val: #d55e00; --lr: #007a5a; --bar: #5ba3d0; --accent: #0068a3;
  --heat-0: #ffffff; --heat-1: #8fbfe0; --heat-2: #08457e;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #10151a; --card: #182027; --text: #e6ebf0; --muted: #9fadba; --line: #35414c; --grid: #26313a;
    --train: #56b4e9; --val: #f0a63c; --lr: #35c79a; --bar: #2f7fb3; --accent: #6cc0f0;
    --heat-0: #1d2730; --heat-1: #245f8c; --heat-2: #a9dbff;
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
summary { cursor: pointer; font-weight: 600; }
pre { margin: .75rem 0 0; overflow-x: auto; font-size: .85rem; line-height: 1.45; overflow-wrap: normal; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
@media (max-width: 36rem) {
  body { padding: 1.25rem .75rem 2rem; }
  figure, .scroll, details { padding: .8rem; }
  .facts tbody th { width: 8rem; }
  table { font-size: .8rem; }
  th, td { padding: .4rem .3rem; }
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
