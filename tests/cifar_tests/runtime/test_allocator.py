"""Freed memory is kept: training steps cause no page faults."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from cifar.runtime.allocator import keep_freed_memory

STEPS = """
import resource
import sys
import torch
from cifar.runtime.allocator import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory() and keep_freed_memory()
network = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 1), torch.nn.BatchNorm2d(16), torch.nn.ReLU())

def steps(count):
    for _ in range(count):
        network(torch.ones(int(sys.argv[2]), 3, 32, 32)).sum().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

ends = [steps(8), *(steps(4) for _ in range(4))]
print(min(end - start for start, end in zip(ends, ends[1:])) / 4)  # a heap that grows once more spoils one of them
"""


with_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc: nothing to set")


def faults_a_step(choice: str, images: int) -> float:
    """Page faults of a training step on so many images, whose activations are 64 KiB each."""
    line = [sys.executable, "-c", STEPS, choice, str(images)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[3]
    result = subprocess.run(line, capture_output=True, text=True, check=True, cwd=root, env=environment)
    return float(result.stdout)


@with_glibc
def test_steps_cause_no_page_faults_where_freed_memory_is_kept() -> None:
    kept, returned = faults_a_step("keep", 64), faults_a_step("return", 64)
    assert kept < 50  # activations of 4 MiB are 1,024 pages each
    assert kept <= returned + 1  # how many come back otherwise varies: none where the C library's own limits have grown


@with_glibc
def test_no_activation_is_too_large_to_be_kept() -> None:
    assert faults_a_step("keep", 600) < 50  # 37.5 MiB, more than the largest threshold of a mapping


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory.__wrapped__() is False
