"""The plot of `benchmarks.scale`, as an SVG file that loads nothing."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PANEL, HEIGHT = 300, 230
"""Width of a panel and height of the picture, in pixels."""
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 36, 44
"""Room around the axes of a panel."""
STYLE = (
    "svg{font:12px sans-serif;background:#fff} line{stroke:#ccc} text{fill:#333} .title{font-weight:bold} "
    "polyline{fill:none;stroke:#1f6feb;stroke-width:2} circle{fill:#1f6feb} .second{stroke:#d1810e} "
    "circle.second{fill:#d1810e;stroke:none} text.first{fill:#1f6feb} text.second{fill:#a35f00;stroke:none}"
)


@dataclass(frozen=True)
class Panel:
    """Curves over a logarithmic axis."""

    title: str
    """What is drawn, in a few words."""
    axis: str
    """What the horizontal axis counts."""
    curves: Mapping[str, Mapping[int, float]]
    """Points of one or two curves, by name; a single curve needs no name."""
    unit: str = ""
    """Written after the numbers of the vertical axis."""

    def drawn(self, left: int) -> str:
        """The panel, whose left edge is at `left`."""
        xs = sorted({x for points in self.curves.values() for x in points})
        top = _rounded_up(max(y for points in self.curves.values() for y in points.values()))
        low, high = math.log(xs[0]), math.log(xs[-1])

        def at(x: int, y: float) -> tuple[float, float]:
            across = (math.log(x) - low) / ((high - low) or 1)
            width, height = PANEL - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
            return left + LEFT + across * width, TOP + (1 - y / top) * height

        parts = [f'<text class="title" x="{left + LEFT}" y="20">{self.title}</text>']
        for share in (0.0, 0.5, 1.0):
            (start, y), (end, _) = at(xs[0], share * top), at(xs[-1], 0)
            parts.append(f'<line x1="{start:.0f}" y1="{y:.1f}" x2="{end:.0f}" y2="{y:.1f}"/>')
            parts.append(
                f'<text x="{start - 6:.0f}" y="{y + 4:.1f}" text-anchor="end">{share * top:g}{self.unit}</text>'
            )
        for x in xs:
            parts.append(f'<text x="{at(x, 0)[0]:.1f}" y="{HEIGHT - 26}" text-anchor="middle">{x:,}</text>')
        middle = left + (LEFT + PANEL - RIGHT) / 2
        parts.append(f'<text x="{middle:.0f}" y="{HEIGHT - 8}" text-anchor="middle">{self.axis}</text>')
        for place, (name, points) in enumerate(self.curves.items()):
            parts += _curve(("first", "second")[place], [at(x, points[x]) for x in sorted(points)])
            key = f'<text class="{("first", "second")[place]}" x="{left + LEFT + 8}" y="{TOP + 14 + 16 * place}">'
            parts.append(f"{key}{name}</text>")
        return "\n".join(parts)


def drawn(rows: Sequence[Mapping[str, Any]]) -> str:
    """Utilisation and regret over the number of workers, and the time of decisions over that of trials.

    Args:
        rows: of `benchmarks.scale`; those of searches have `workers`, those of decisions `size`.
    """
    searches = [row for row in rows if "workers" in row]
    used, regret = ({w: _mean(searches, w, name) for w in _workers(searches)} for name in ("utilisation", "regret"))
    panels = []
    if searches:
        panels.append(Panel("Workers are kept busy", "workers", {"": {w: 100 * y for w, y in used.items()}}, " %"))
        panels.append(Panel("More workers find better ones", "workers", {"": regret}))
    timed = {row["size"]: row for row in rows if "size" in row}
    if timed:
        curves = {name: {n: row[f"{name}_ms"] for n, row in timed.items()} for name in ("decision", "proposal")}
        panels.append(Panel("CPU time of a step", "trials in the study", curves, " ms"))
    size = f'viewBox="0 0 {PANEL * len(panels)} {HEIGHT}" width="{PANEL * len(panels)}" height="{HEIGHT}"'
    inside = "\n".join(panel.drawn(PANEL * place) for place, panel in enumerate(panels))
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>\n{inside}\n</svg>\n'


def _curve(kind: str, points: Sequence[tuple[float, float]]) -> list[str]:
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = [f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points]
    return [f'<polyline class="{kind}" points="{line}"/>', *dots]


def _workers(searches: Sequence[Mapping[str, Any]]) -> list[int]:
    return sorted({row["workers"] for row in searches})


def _mean(searches: Sequence[Mapping[str, Any]], workers: int, name: str) -> float:
    return statistics.fmean(row[name] for row in searches if row["workers"] == workers)


def _rounded_up(value: float) -> float:
    """The next of 1, 2, 5 and 10 times a power of ten; axes end there."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value)
