"""The plan of a study: what all of its trials have in common."""

from __future__ import annotations

from dataclasses import dataclass

from search.planning.rungs import rungs, rungs_from_top


@dataclass(frozen=True)
class Plan:
    """What all trials of a study have in common; stored in the study, so that their values stay comparable."""

    min_epochs: int
    """Epochs of the first rung, r (see `search.planning.rungs`)."""
    max_epochs: int
    """Epochs of a full trial, R."""
    eta: int
    """Reduction factor."""
    train_size: int
    """Training images an epoch; 0 for a space without images."""
    val_size: int
    """Images of the training set kept apart for validation."""
    val_limit: int
    """How many of those a trial is validated on after each epoch: a fixed, stratified subset."""
    param_budget: int | None
    """Most parameters; None where the space has no limit."""
    mac_budget: int | None
    """Most multiply-accumulates an image; None is no limit."""
    image_size: int = 32
    """Height and width of the images in pixels."""
    from_top: bool = False
    """Whether rungs are counted down from R (for promotion) or up from r (for Optuna's pruners)."""
    startup_trials: int = 10
    """Trials before the sampler learns from their values; known good points that are tried first count."""
    param_budgets: tuple[int, ...] = ()
    """All parameter limits, where there are several: each trial keeps one, and `param_budget` is the largest."""
    anneals: bool = False
    """Whether schedules come to their end at each rung (see `search.planning.rungs`) or stretch over R."""

    @property
    def rungs(self) -> list[int]:
        """Epochs at which trials are compared, the full length last."""
        count = rungs_from_top if self.from_top else rungs
        return count(self.min_epochs, self.max_epochs, self.eta)

    @property
    def schedule_ends(self) -> tuple[int, ...]:
        """Epochs at which a trial's schedule comes to its end, the full length last."""
        return tuple(self.rungs) if self.anneals else (self.max_epochs,)
