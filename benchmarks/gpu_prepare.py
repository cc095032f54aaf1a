"""Packs what a run on a GPU without a network needs.

`python -m benchmarks.gpu_prepare --data PATH --have FILE --out FOLDER`. The folder gets the images, wheels of the
packages that the other machine lacks, and a note of what was packed. It is to lie beside a copy of this repository
there, where one command, printed at the end, does the rest (`benchmarks.gpu_run`).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from benchmarks.gpu_steps import PROJECT, Places, plan_table, steps

TESTING = ("pytest", "pytest-timeout", "pytest-xdist", "hypothesis")  # what the tests for GPUs need
NEVER = ("torch", "torchvision", "triton")  # must be there, in the build for its GPU
GLIBC = (39, 35, 34, 31, 28, 27, 24, 17)  # minor versions of 2.N that wheels are named after; pip matches each exactly
COMMAND = "python -m benchmarks.gpu_run --from {} --state gpu_run_state --out gpu_run_results --seconds 570"


def normal(name: str) -> str:
    """A package's name as registries compare it (packaging.python.org, name normalization)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(roots: Sequence[str], python: str, have: Collection[str]) -> list[str]:
    """What the other machine lacks of these requirements and of theirs, in the versions of this environment.

    Args:
        roots: requirements, installed here.
        python: its version there, such as 3.12.
        have: normalised names of what is there.
    """
    there = {"python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    found: set[str] = set()
    waiting = [Requirement(root) for root in roots]
    while waiting:
        requirement = waiting.pop()
        name = normal(requirement.name)
        applies = requirement.marker is None or requirement.marker.evaluate(there)
        if name in found or name in have or name in NEVER or not applies:
            continue
        found.add(name)
        waiting += map(Requirement, importlib.metadata.requires(name) or ())
    return [f"{name}=={importlib.metadata.version(name)}" for name in sorted(found)]


def project_requirements() -> list[str]:
    """What the project and the tests for GPUs need."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *TESTING]


def download(requirements: Sequence[str], python: str, machine: str, folder: Path) -> None:
    """Fetches a wheel of each requirement for Python and processor of the other machine."""
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in GLIBC] + [f"manylinux2014_{machine}", f"linux_{machine}"]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--only-binary=:all:",
        "--implementation",
        "cp",
    ]
    command += ["--python-version", python, "-d", str(folder)]
    command += [part for platform in platforms for part in ("--platform", platform)]
    subprocess.run([*command, *requirements], check=True)


def pack(
    data: Path,
    out: Path,
    python: str,
    machine: str,
    have: Collection[str],
    fetch: Callable[[Sequence[str], str, str, Path], None] = download,
) -> dict[str, Any]:
    """Fills the folder; what was packed, as `packed.json` in it says."""
    requirements = needed(project_requirements(), python, {normal(name) for name in have})
    for name in ("wheels", "data"):
        (out / name).mkdir(parents=True)
    if requirements:
        fetch(requirements, python, machine, out / "wheels")
    (shutil.copytree if data.is_dir() else shutil.copy2)(data, out / "data" / data.name)
    packed = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "python": python,
        "wheels": sorted(path.name for path in (out / "wheels").iterdir()),
        "data": data.name,
        "bytes": sum(path.stat().st_size for path in out.rglob("*") if path.is_file()),
    }
    (out / "packed.json").write_text(json.dumps(packed, indent=1) + "\n")
    return packed


def _commit() -> str:
    """The commit of this repository, and whether files differ from it; empty without git."""
    command = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def main(argv: Sequence[str] | None = None) -> int:
    """Packs, and prints the command and what it is expected to take."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_prepare", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="images: an archive, an .npz file or a folder")
    parser.add_argument("--out", type=Path, required=True, help="folder to fill; must not exist")
    parser.add_argument("--python", default="3.12", help="version of the other machine's Python")
    parser.add_argument("--machine", default="x86_64", help="its processor, as `uname -m` prints it")
    parser.add_argument("--have", type=Path, help="its packages, as `pip list --format=freeze` prints them there")
    args = parser.parse_args(argv)
    for option, path in (("--data", args.data), ("--have", args.have)):
        if path and not path.exists():
            parser.error(f"{option} must exist; got {path}")
    if args.out.exists():
        parser.error(f"--out must not exist; got {args.out}. Remove it, or give another")
    lines = args.have.read_text().splitlines() if args.have else []
    have = [re.split(r"[=<>@ ]", line, maxsplit=1)[0] for line in lines if line.strip()]
    try:
        packed = pack(args.data, args.out, args.python, args.machine, have)
    except subprocess.CalledProcessError as error:  # pip has said why
        parser.error(
            f"every package needs a wheel for Python {args.python} on {args.machine}; pip gave {error.returncode}"
        )
    print(f"{args.out}: {len(packed['wheels'])} wheels and {packed['data']}, {packed['bytes'] / 2**20:.1f} MiB")
    print(f"there, in calls of ten minutes until it exits with 0:\n{COMMAND.format(args.out)}\n")
    print(plan_table(steps(Places(args.out, Path("gpu_run_state"), Path("gpu_run_results"), "cuda"))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
