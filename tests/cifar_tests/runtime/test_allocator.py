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
import torch
from cifar.runtime.allocator import keep_freed_memory

assert keep_freed_memory() and keep_freed_memory()
network = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 1), torch.nn.BatchNorm2d(16), torch.nn.ReLU())

def steps(count):
    for i in range(count):
        images = (64, 600)[i % 2]
        network(torch.ones(images, 3, 32, 32)).sum().backward()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

ends = [steps(8), *(steps(4) for _ in range(4))]
print(min(end - start for start, end in zip(ends, ends[1:])) / 4)  # a heap that grows once more spoils one of them
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc: nothing to set")
def test_steps_cause_no_page_faults_where_freed_memory_is_kept() -> None:
    line, environment = [sys.executable, "-c", STEPS], {**os.environ, "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[3]
    result = subprocess.run(line, capture_output=True, text=True, check=True, cwd=root, env=environment)
    # activations of 4 MiB are 1,024 pages each; others are larger than glibc's largest threshold of a mapping, 32 MiB
    assert float(result.stdout) < 50


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory.__wrapped__() is False
