"""Searches recorded learning curves: `CURVES=table.npz python -m search.run --space docs/examples/recorded_curves.py`.

Nothing is trained: a trial picks a row of the table and reports its recorded loss after each epoch. The table holds
`hyperparameters` (N, D) and `valid_loss` (N, E), NaN where a run diverged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from optuna.trial import BaseTrial

from spaces import EpochReport, OwnCandidate, SearchSpace, TrialContext


@dataclass(frozen=True)
class Row(OwnCandidate):
    """A configuration of the table."""

    index: int

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form."""
        return asdict(self)


class RecordedCurves(SearchSpace):
    """Rows of a table; the value is the recorded loss, smaller is better."""

    direction = "minimize"
    uses_images = False
    resumable = True

    def __init__(self, path: str) -> None:
        with np.load(path) as table:
            self.losses = table["valid_loss"]  # (N, E)
        self.max_epochs = self.losses.shape[1]

    def suggest(self, trial: BaseTrial) -> Row:
        """A row."""
        return Row(trial.suggest_int("row", 0, len(self.losses) - 1))

    def train(self, candidate: Row, context: TrialContext) -> Iterator[EpochReport]:
        """The recorded loss after each epoch; where it is NaN, the engine ends the trial as diverged."""
        for epoch in range(context.epochs_done + 1, context.fidelity + 1):
            yield EpochReport(epoch, float(self.losses[candidate.index, epoch - 1]))


space = RecordedCurves(os.environ["CURVES"])
