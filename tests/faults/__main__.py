"""`python -m tests.faults`: inflicts every fault as often as the table says, and prints a line each.

A case is a test; it survives if it passes. `--only 1 8` runs these rows; `--keep` puts what is printed in the place of
what docs/reliability.md says of them.
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from tests.faults.rows import ROWS, Row
from tests.faults.table import HEAD, Count, keep

HANGS_SECONDS = 1800
"""After which a case is taken to hang, on a busy machine too."""
TRIALS_AN_HOUR = 10_000 / 24
"""Of row 18, whose day has 10,000 trials."""


def main() -> int:
    """Runs the rows that are asked for; status 1 if a case did not survive."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", type=int, nargs="+", choices=ROWS, metavar="ROW", help="numbers of the rows to run")
    parser.add_argument("--hours", type=float, default=24, help="length of the day in row 18 (default: 24)")
    parser.add_argument("--keep", action="store_true", help="write what is printed to docs/reliability.md")
    args = parser.parse_args()
    environment = {**os.environ, "FAULT_TRIALS": str(max(1, round(args.hours * TRIALS_AN_HOUR)))}
    print(HEAD)
    sound, commit = True, commit_here()
    for number in args.only or ROWS:
        count = run(ROWS[number], environment, commit)
        print(count.line(number), flush=True)
        if args.keep:
            keep(number, count)
        sound &= count.survived == count.tried > 0
    return 0 if sound else 1


def commit_here() -> str:
    """The commit of the working tree, with a + where its files have changed since."""
    line = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()


def run(row: Row, environment: dict[str, str], commit: str) -> Count:
    """Runs a row's cases; what pytest says of those that fail goes to stderr."""
    counts, numbers = Counter[str](), Counter[str]()
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
            for told in suite.iter("property"):  # those of Hypothesis are text
                if (value := told.attrib["value"]).isdecimal():
                    numbers[told.attrib["name"]] += int(value)
            counts += Counter({name: int(suite.get(name, 0)) for name in ("tests", "skipped", "failures", "errors")})
    tried = counts["tests"] - counts["skipped"]
    survived = tried - counts["failures"] - counts["errors"]
    return Count(datetime.date.today().isoformat(), commit, tried, survived, counts["skipped"], dict(numbers))


if __name__ == "__main__":
    raise SystemExit(main())
