"""An evening on a GPU without a network: `python -m benchmarks.gpu_run --from FOLDER --state FOLDER --out FOLDER`.

Runs what the folder that `benchmarks.gpu_prepare` filled is for: the tests that need a GPU, a trace, speeds, the
recipes for GPUs. It may be cut anywhere and called again, such as in calls of ten minutes (`--seconds 570`): what is
done stays done, and trainings continue from their checkpoints, as long as `--state` stays. `--plan` prints the steps
and what they are expected to take. Not yet run on a GPU.

`--out` gets manifest.json (what ran when, on which hardware, with which result) and results-N.zip, each below 16 MB.
Only the standard library is imported here: what else is needed is installed first, from the folder's wheels.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.gpu_steps import PROJECT, Places, Step, plan_table, steps

MOST_BYTES = 15 * 2**20  # of a file of results
SHORTEST_STEP = 20.0  # seconds left below which none is begun
HARDWARE = """
import json, platform, torch
gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
print(json.dumps({
    "gpu": gpu, "cuda": torch.version.cuda, "torch": torch.__version__,
    "python": platform.python_version(), "machine": platform.machine(),
}))
"""


def install(places: Places) -> None:
    """Installs the packed wheels, once."""
    wheels = sorted(map(str, (places.packed / "wheels").glob("*.whl")))
    if not wheels or places.site.exists():
        return
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target"]
    subprocess.run([*pip, str(places.site.with_suffix(".new")), *wheels], check=True)
    places.site.with_suffix(".new").rename(places.site)  # whole or not at all


def run(todo: Sequence[Step], places: Places, seconds: float, clock: Callable[[], float] = time.monotonic) -> bool:
    """Runs the steps that are not done until the seconds are over; whether all of them have ended.

    A step that fails is not repeated. One that is cut is, in the next call; one that does not continue where it was cut
    has failed if it had most of a call for itself.
    """
    ends = clock() + seconds
    places.logs.mkdir(parents=True, exist_ok=True)
    places.out.mkdir(parents=True, exist_ok=True)
    manifest = _manifest(places)
    for step in todo:
        if manifest["steps"].get(step.name, {}).get("status") in ("done", "failed"):
            continue
        left = ends - clock()
        if left < SHORTEST_STEP:
            break
        began, started = datetime.now(UTC).isoformat(timespec="seconds"), clock()
        status = _status(step, places, left, whole_call=left > 0.9 * seconds)
        took = round(clock() - started, 1)
        earlier = manifest["steps"].get(step.name, {}).get("calls", [])
        calls = [*earlier, {"began": began, "seconds": took}]
        manifest["steps"][step.name] = {"status": status, "calls": calls, **asdict(step)}
        print(f"{step.name}: {status} after {took:.0f} s", flush=True)
        _write(manifest, places)
    pack_results(places)
    return all(manifest["steps"].get(step.name, {}).get("status") in ("done", "failed") for step in todo)


def _status(step: Step, places: Places, left: float, *, whole_call: bool) -> str:
    """Runs a step for the seconds left at most: done, failed, or cut."""
    with (places.logs / f"{step.name}.txt").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, *step.arguments],
            cwd=PROJECT,
            env=places.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return "failed" if process.wait(left) else "done"
        except subprocess.TimeoutExpired:
            return "failed" if whole_call and not step.continues else "cut"
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a step and the processes that it began, which would keep the GPU busy."""
    with contextlib.suppress(ProcessLookupError):  # all have ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _manifest(places: Places) -> dict[str, Any]:
    """What was run so far; kept in the state, so that `--out` may be another folder at each call."""
    path = places.state / "manifest.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    told = subprocess.run(
        [sys.executable, "-c", HARDWARE], env=places.environment, capture_output=True, text=True, check=True
    )
    packed = json.loads((places.packed / "packed.json").read_text())
    return {"hardware": json.loads(told.stdout), "packed": packed, "steps": {}}


def _write(manifest: dict[str, Any], places: Places) -> None:
    for folder in (places.state, places.out):
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def pack_results(places: Places) -> list[Path]:
    """Zips of logs and of what the trainings wrote, without checkpoints, each file small enough to be carried."""
    files = [path for folder in (places.logs, places.runs) for path in sorted(folder.rglob("*")) if path.is_file()]
    volumes: list[list[Path]] = [[]]
    for path in files:
        size = path.stat().st_size
        if size > MOST_BYTES or path.name == "checkpoint.pt":
            continue
        if sum(other.stat().st_size for other in volumes[-1]) + size > MOST_BYTES:
            volumes.append([])
        volumes[-1].append(path)
    found = []
    for number, volume in enumerate(filter(None, volumes), 1):
        found.append(places.out / f"results-{number}.zip")
        with zipfile.ZipFile(found[-1], "w", zipfile.ZIP_DEFLATED) as archive:
            for path in volume:
                archive.write(path, path.relative_to(places.state))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what is left to do; 0 once nothing is, 3 if another call must follow."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_run", description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="packed", type=Path, required=True, help="what benchmarks.gpu_prepare filled")
    parser.add_argument("--state", type=Path, default=Path("gpu_run_state"), help="must stay from call to call")
    parser.add_argument("--out", type=Path, default=Path("gpu_run_results"), help="manifest and results go here")
    parser.add_argument("--seconds", type=float, default=1e9, help="end this call after so long")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu for a try")
    parser.add_argument("--only", action="append", help="run this step; may be given several times")
    parser.add_argument("--plan", action="store_true", help="print the steps instead")
    args = parser.parse_args(argv)
    if not (args.packed / "packed.json").exists():
        parser.error(f"--from must be a folder that benchmarks.gpu_prepare filled; got {args.packed}")
    places = Places(args.packed.resolve(), args.state.resolve(), args.out.resolve(), args.device)
    todo = [step for step in steps(places) if not args.only or step.name in args.only]
    if args.plan:
        print(plan_table(todo))
        return 0
    places.state.mkdir(parents=True, exist_ok=True)
    install(places)
    return 0 if run(todo, places, args.seconds) else 3


if __name__ == "__main__":
    raise SystemExit(main())
