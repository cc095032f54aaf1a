"""Opening retrained models, those of own networks too."""

from __future__ import annotations

from pathlib import Path

from cifar.checkpoint import TrainedModel, load_model
from search.retraining.finished_run import find_run
from spaces.base import Problem
from spaces.registry import load_space


def register_networks(space: str | None) -> None:
    """Loads a space, so that the networks it registers are known; None loads nothing.

    Raises:
        SpaceError: no such space.
    """
    if space:
        load_space(space, Problem())


def open_model(given: Path, space: str | None) -> TrainedModel:
    """The model of a retrained run.

    Args:
        given: the model's folder, or the short name of a run, see `search.retraining.finished_run.find_run`.
        space: the space that defines its own network class, if it has one.

    Raises:
        UserError: the folder holds no model, or the space is unknown.
    """
    register_networks(space)
    return load_model(given if given.is_dir() else find_run(str(given)))
