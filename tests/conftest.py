"""Fixtures of all tests."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from cifar.runtime import threads

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"

# how long an example takes is the machine's business: the only time limit is that of the whole test
settings.register_profile("no time limits", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no time limits")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Two threads on small tensors wait for one another more than they work, above all on a busy machine."""
    with threads.one_thread():
        yield


@pytest.fixture(scope="session")
def real_images() -> Path:
    """A file of real CIFAR-10 images: `CIFAR_DATA`, or `../shared/data` beside the checkout."""
    given = os.environ.get("CIFAR_DATA")
    path = Path(given) if given else SHARED_DATA / "cifar10-jpeg.tar.xz"
    if not path.exists():
        pytest.skip(f"real CIFAR-10 images not found at {path}: set CIFAR_DATA")
    return path
