"""Where this tool keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path

from cifar.errors import ConfigError


def cache_folder(given: Path | None = None) -> Path:
    """The cache folder, which may not exist yet.

    Args:
        given: as a user gave it; None takes XDG_CACHE_HOME/cifar-budget-search or ~/.cache/cifar-budget-search.

    Raises:
        ConfigError: it would lie in a home directory that is not known.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    folder = Path(given) if given is not None else Path(base or "~/.cache") / "cifar-budget-search"
    try:
        return folder.expanduser()
    except RuntimeError:  # no HOME, and the system's list of users gives none
        raise ConfigError(
            "a cache folder that begins with ~ needs a home directory",
            got=folder,
            remedy="Set HOME, or choose another folder by XDG_CACHE_HOME",
        ) from None
