"""What a recipe reaches in so many minutes: `python -m benchmarks.minutes --minutes 1.5 5 15 --out FILE`.

Runs the command that a user would run, `search.retrain --recipe NAME --time-budget T`, in a process of its own, once a
seed and one after the other: use a machine that does nothing else. Test images are read by that command, once, at its
end; nothing is chosen by them. The seconds are those of the whole command, from its start to its report.

Each run is written to `--out` at its end, and a repetition of the command trains only what is missing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.resumable import append, is_done, read
from cifar.recipe import recipe_names
from search.retraining.run_record import RunRecord

METRICS = "test_metrics.json"
STDERR = 2  # this process's standard error, where what the commands say goes


def run(recipe: str, minutes: float, seed: int, data: str | None) -> dict[str, Any]:
    """Trains the recipe by command; what came out.

    Raises:
        subprocess.CalledProcessError: the command failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "search.retrain", "--recipe", recipe, "--time-budget", f"{60 * minutes:g}s"]
        command += ["--seed", str(seed), "--out", folder, *(["--data", data] if data else [])]
        began = time.monotonic()
        subprocess.run(command, check=True, stdout=STDERR)
        seconds = time.monotonic() - began
        return {**figures(Path(folder)), "seconds": round(seconds, 1)}


def figures(folder: Path) -> dict[str, Any]:
    """What came out of the run in a folder, as keys of a row."""
    record = RunRecord.read(folder)
    metrics = json.loads((folder / METRICS).read_text())
    assert record.cost is not None
    return {
        "test_accuracy": metrics["accuracy"],
        "test_images": metrics["count"],
        "passes": record.epochs,
        "parameters": record.cost.parameters,
        "device": record.device,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Mean test accuracy and its spread over the seeds, a line for each recipe and time.

    Rows without a recipe, other arms of `benchmarks.earns_its_keep`, are left out.
    """
    rows = [row for row in rows if "recipe" in row]
    lines = [
        "| recipe | minutes | test accuracy, mean | each seed | seconds, all included | passes | parameters |",
        "|---|---|---|---|---|---|---|",
    ]
    for recipe, minutes in sorted({(row["recipe"], row["minutes"]) for row in rows}):
        runs = [row for row in rows if (row["recipe"], row["minutes"]) == (recipe, minutes)]
        accuracies = [100 * row["test_accuracy"] for row in runs]
        lines.append(
            f"| {recipe} | {minutes:g} | {statistics.mean(accuracies):.2f} % "
            f"| {', '.join(f'{accuracy:.2f}' for accuracy in accuracies)} "
            f"| {statistics.mean(row['seconds'] for row in runs):.0f} "
            f"| {statistics.mean(row['passes'] for row in runs):.1f} | {runs[-1]['parameters']:,} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Trains what is missing, prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.minutes", description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="images, as for search.run")
    parser.add_argument("--recipe", default="cpu_fast", help=f"one of {', '.join(recipe_names())}, or a TOML file")
    parser.add_argument("--minutes", type=float, nargs="+", default=[5.0, 15.0], help="that a run may take")
    parser.add_argument("--seeds", type=int, default=3, help="runs for each time")
    parser.add_argument("--out", type=Path, required=True, help="results, one JSON object a line; read and appended to")
    args = parser.parse_args()
    for seed in range(args.seeds):
        for minutes in args.minutes:
            wanted = {"recipe": args.recipe, "minutes": minutes, "seed": seed}
            if not is_done(read(args.out), wanted):
                append(args.out, wanted | run(args.recipe, minutes, seed, args.data))
    print(table(read(args.out)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
