"""`python -m tests.faults`: inflicts every fault as often as the table says, and prints a line each.

A case is a test; it survives if it passes. `--only 1 8` runs these rows; what they printed stands in
docs/reliability.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from tests.faults.rows import ROWS, Row

HANGS_SECONDS = 1800
"""After which a case is taken to hang, on a busy machine too."""
TRIALS_AN_HOUR = 10_000 / 24
"""Of row 18, whose day has 10,000 trials."""


def main() -> int:
    """Runs the rows that are asked for; status 1 if a case did not survive."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", type=int, nargs="+", choices=ROWS, metavar="ROW", help="numbers of the rows to run")
    parser.add_argument("--hours", type=float, default=24, help="length of the day in row 18 (default: 24)")
    args = parser.parse_args()
    environment = {**os.environ, "FAULT_TRIALS": str(max(1, round(args.hours * TRIALS_AN_HOUR)))}
    print("| # | fault | tried | survived |\n|---|---|---|---|")
    sound = True
    for number in args.only or ROWS:
        counts = run(ROWS[number], environment)
        tried = counts["tests"] - counts["skipped"]
        survived = tried - counts["failures"] - counts["errors"]
        skipped = f" ({counts['skipped']} skipped here)" if counts["skipped"] else ""
        print(f"| {number} | {ROWS[number].fault} | {tried} | {survived}{skipped} |", flush=True)
        sound &= survived == tried > 0
    return 0 if sound else 1


def run(row: Row, environment: dict[str, str]) -> Counter[str]:
    """Counts of a row's cases, as JUnit names them; what pytest says of those that failed goes to stderr."""
    counts = Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        line = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "not gpu", "--timeout", str(HANGS_SECONDS)]
        line += [f"--junitxml={report}", "-o", "junit_family=xunit1", *row.tests]  # which may hold properties
        for _ in range(row.times):
            report.unlink(missing_ok=True)
            result = subprocess.run(line, capture_output=True, text=True, env=environment)
            if result.returncode:
                print(result.stdout, file=sys.stderr)
            suite = ElementTree.parse(report).getroot()[0]
            for told in suite.iter("property"):
                print(f"  {told.get('name')}: {told.get('value')}", file=sys.stderr)
            counts += Counter({name: int(suite.get(name, 0)) for name in ("tests", "skipped", "failures", "errors")})
    return counts


if __name__ == "__main__":
    raise SystemExit(main())
