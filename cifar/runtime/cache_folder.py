"""Where this tool keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(given: Path | None = None) -> Path:
    """The cache folder, which may not exist yet.

    Args:
        given: as a user gave it; None takes XDG_CACHE_HOME/cifar-budget-search or ~/.cache/cifar-budget-search.
    """
    if given is not None:
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "cifar-budget-search"
