"""Results of a long benchmark, one JSON object a line, appended as they come: a repetition does what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

Job = TypeVar("Job")


def read(path: Path) -> list[dict[str, Any]]:
    """Results so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Adds a result."""
    with path.open("a") as results:
        results.write(json.dumps(row) + "\n")


def is_done(rows: list[dict[str, Any]], wanted: Mapping[str, Any]) -> bool:
    """Whether a result with these fields is there."""
    return any(wanted.items() <= row.items() for row in rows)


def side_by_side(run: Callable[[Job], dict[str, Any]], jobs: Sequence[Job], at_once: int) -> Iterator[dict[str, Any]]:
    """Runs the jobs, so many processes at once; their results as they come."""
    with ProcessPoolExecutor(at_once, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(run, job) for job in jobs]):
            yield done.result()
