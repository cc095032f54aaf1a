"""What was tried, kept in tests/faults/counts.json; the table of docs/reliability.md is made from it."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path

from cifar.files import read_json, write_json, write_text
from tests.faults.rows import ROWS

KEPT = Path(__file__).with_name("counts.json")
DOCUMENT = Path(__file__).parents[2] / "docs/reliability.md"
HEAD = "| # | fault | tried | survived | in all | on |\n|---|---|---|---|---|---|"
TABLE = re.compile(re.escape(HEAD.partition("\n")[0]) + r"\n(\|.*\n)+")


@dataclass(frozen=True)
class Count:
    """How a row of the table was run."""

    day: str
    """On which it was run, such as 2026-12-01."""
    commit: str
    """Of the code that was tried, with a + where files had changed since."""
    tried: int
    """Cases."""
    survived: int
    """Those of them that passed."""
    skipped: int
    """Cases that this machine could not try."""
    numbers: dict[str, int]
    """What the cases say that they did, such as 10,000 trials."""

    def line(self, number: int) -> str:
        """The row of the table."""
        skipped = f" ({self.skipped} skipped)" if self.skipped else ""
        said = ", ".join(f"{value:,} {name}" for name, value in self.numbers.items())
        return f"| {number} | {ROWS[number].fault} | {self.tried} | {self.survived}{skipped} | {said} | {self.day} |"


def kept() -> dict[int, Count]:
    """The counts of the rows that were run, by number."""
    return {int(number): Count(**held) for number, held in read_json(KEPT).items()}


def keep(number: int, count: Count) -> None:
    """Keeps a row's counts in the place of those that it had, also in the document."""
    counts = {**kept(), number: count}
    write_json(KEPT, {str(row): asdict(counts[row]) for row in sorted(counts)})
    write_text(DOCUMENT, TABLE.sub(lambda _: table(counts), DOCUMENT.read_text(encoding="utf-8")))


def table(counts: dict[int, Count]) -> str:
    """The table of the document."""
    return "\n".join([HEAD, *(counts[number].line(number) for number in sorted(counts)), ""])
