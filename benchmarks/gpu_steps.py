"""The steps of an evening on a GPU (`benchmarks.gpu_run`): what each runs, and what it is expected to take.

Only the standard library is imported here, since the steps' own packages may not be installed yet.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]
TRAINED_IMAGES = 50_000  # an epoch of all training images
ASSUMED_SPEED = 15_000  # images/s of a network of 5M parameters on one H200: half of what is aimed at


@dataclass(frozen=True)
class Step:
    """A command of the evening."""

    name: str
    """Also of its log."""
    arguments: tuple[str, ...]
    """Of Python."""
    minutes: float
    """Expected time."""
    continues: bool = False
    """Whether it goes on where it was cut; others begin anew."""


def training(name: str, recipe: str, epochs: float, options: Sequence[str], places: Places) -> Step:
    """A retraining on all training images; its time is that of its images, and a minute to start and to report."""
    minutes = 1 + epochs * TRAINED_IMAGES / ASSUMED_SPEED / 60
    arguments = ("-m", "search.retrain", "--recipe", recipe, "--val-size", "0", *places.options, *options)
    return Step(name, (*arguments, "--out", str(places.runs / name)), round(minutes, 1), continues=True)


@dataclass(frozen=True)
class Places:
    """Where a run finds and leaves things."""

    packed: Path
    """What `benchmarks.gpu_prepare` filled."""
    state: Path
    """What must stay from call to call: installed wheels, caches, checkpoints."""
    out: Path
    """Results."""
    device: str
    """As `--device` names it."""

    @property
    def options(self) -> tuple[str, ...]:
        """Data and device, for the project's commands."""
        (data,) = (self.packed / "data").iterdir()
        return ("--data", str(data), "--device", self.device)

    @property
    def site(self) -> Path:
        """Where the wheels are installed."""
        return self.state / "site"

    @property
    def logs(self) -> Path:
        """What the steps printed and wrote."""
        return self.state / "logs"

    @property
    def runs(self) -> Path:
        """Folders of the trainings."""
        return self.state / "runs"

    @property
    def environment(self) -> dict[str, str]:
        """Of the steps: this project, the wheels, and caches that stay."""
        path = os.pathsep.join([str(PROJECT), str(self.site), os.environ.get("PYTHONPATH", "")])
        caches = {"XDG_CACHE_HOME": self.state / "cache", "TORCHINDUCTOR_CACHE_DIR": self.state / "cache" / "inductor"}
        return {**os.environ, "PYTHONPATH": path, **{name: str(folder) for name, folder in caches.items()}}


def steps(places: Places) -> list[Step]:
    """What is run, the cheap and the telling first."""
    bench, big = ("-m", "benchmarks.throughput", *places.options), ("--batch-size", "512")
    recipes = ("--recipe", "resnet24_budget5m", "--recipe", "resnet24_budget5m_w64", "--recipe", "resnet_16_32_64")
    trace = places.logs / "trace.json.gz"
    return [
        Step("tests", ("-m", "pytest", "-q", "-n", "0", "-m", "gpu", "--timeout", "300", "tests/cifar_tests"), 4),
        Step("trace", (*bench, *big, "--trace", str(trace)), 1),
        training("gpu_fast-0", "gpu_fast", 8, ("--tta",), places),
        training("gpu_fast-1", "gpu_fast", 8, ("--tta", "--seed", "1"), places),
        training("gpu_fast-2", "gpu_fast", 8, ("--tta", "--seed", "2"), places),
        Step("throughput", (*bench, *big, *recipes, "--only", "training", "--only", "input", "--repeats", "1"), 6),
        Step("side_by_side", (*bench, *recipes[-2:], "--only", "side_by_side"), 4),
        Step("profile", (*bench, *big, *recipes[:2], "--profile"), 2),
        training("resnet24_budget5m", "resnet24_budget5m", 60, (), places),
        training("gpu_long", "gpu_long", 300, (), places),
    ]


def plan_table(todo: Sequence[Step]) -> str:
    """The steps with what they are expected to take, as Markdown."""
    rows = [f"| {step.name} | {step.minutes:g} | `python {' '.join(step.arguments)}` |" for step in todo]
    total = f"| all | {sum(step.minutes for step in todo):g} | |"
    return "\n".join(["| step | minutes | command |", "|---|---|---|", *rows, total])
