"""The recorded curves of `benchmarks.record_curves` as a search space."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import BaseTrial, FixedTrial

from cifar.errors import Diverged
from cifar.networks.complexity import Cost
from spaces.base import EpochReport, OwnCandidate, Prior, SearchSpace, TrialContext, WarmStart

SCHEMES = ("annealed", "stretched")


@dataclass(frozen=True)
class Curves:
    """Recorded candidates, N of them, and their curves of E epochs."""

    path: Path
    """An .npz file, see `packed`."""

    @cached_property
    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """The file's arrays."""
        with np.load(self.path) as file:
            return {name: file[name] for name in file.files}

    @cached_property
    def params(self) -> list[dict[str, Any]]:
        """Each candidate's Optuna parameters."""
        return [json.loads(text) for text in self.arrays["params"]]

    @cached_property
    def final(self) -> np.ndarray[Any, Any]:
        """What a candidate is worth after a full trial: the mean of its last values by either scheme, (N,).

        The mean, so that neither scheme is judged by itself; NaN where one of them diverged.
        """
        mean: np.ndarray[Any, Any] = np.mean([self.arrays[scheme][:, -1] for scheme in SCHEMES], axis=0)
        return mean

    def regret(self, index: int | None) -> float:
        """Points of accuracy, in [0, 1], by which a recommended candidate is worse than the best one.

        None is no recommendation, worth as much as chance.
        """
        value = 1 / 10 if index is None else float(np.nan_to_num(self.final[index], nan=1 / 10))
        return float(np.nanmax(self.final)) - value


def packed(rows: Sequence[Mapping[str, Any]], epochs: int) -> dict[str, np.ndarray[Any, Any]]:
    """Arrays of recorded candidates, by number.

    `params` JSON texts (N,), `source` (N,), `parameters` and `macs` (N,), values and seconds of each scheme (N, E), NaN
    from where a loss diverged, and `longer` (N,), the last value of the longer training, NaN where there is none.
    """
    rows = sorted(rows, key=lambda row: row["number"])
    arrays = {
        "params": np.array([json.dumps(row["params"]) for row in rows]),
        "source": np.array([row["source"] for row in rows]),
        "parameters": np.array([row["parameters"] for row in rows]),
        "macs": np.array([row["macs"] for row in rows]),
        "longer": np.array([_last(row.get("longer"), epochs) for row in rows], dtype=np.float32),
    }
    for scheme in SCHEMES:
        for kind, name in (("values", scheme), ("seconds", f"{scheme}_seconds")):
            full = [[*row[scheme][kind], *[math.nan] * (epochs - len(row[scheme][kind]))] for row in rows]
            arrays[name] = np.array(full, dtype=np.float32)
    return arrays


def save(path: Path, rows: Sequence[Mapping[str, Any]], epochs: int) -> None:
    """Writes the arrays of recorded candidates."""
    arrays: dict[str, Any] = dict(packed(rows, epochs))
    np.savez_compressed(path, **arrays)


def _last(curve: Mapping[str, list[float]] | None, epochs: int) -> float:
    return curve["values"][-1] if curve and len(curve["values"]) == epochs else math.nan


@dataclass(frozen=True)
class Recorded(OwnCandidate):
    """A recorded candidate."""

    index: int
    """Its row."""
    cost: Cost

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form."""
        return {"row": self.index}


class RecordedSpace(SearchSpace):
    """The space that was recorded: what is proposed there becomes the recorded candidate that is nearest to it.

    The distance is Gower's: the mean over all parameters that either has of the difference as a share of the range, on
    the parameter's scale; of choices, and of parameters that only one has, 0 or 1.

    Args:
        curves: the record.
        space: the space that was recorded.
        scheme: whose curves are told.
        passes: length of a full trial in passes over the training images.
    """

    uses_images = False
    resumable = True

    def __init__(self, curves: Curves, space: SearchSpace, scheme: str, passes: float) -> None:
        self.curves, self.space, self.scheme, self.passes = curves, space, scheme, passes
        self.max_epochs = curves.arrays[scheme].shape[1]
        self.param_budget, self.mac_budget, self.added = space.param_budget, space.mac_budget, space.added
        self.points = [self._point(params) for params in curves.params]

    def suggest(self, trial: BaseTrial) -> Recorded:
        """The candidate nearest to what the recorded space suggests."""
        self.space.suggest(trial)
        asked = _scaled(trial.params, trial.distributions)
        index = min(range(len(self.points)), key=lambda row: gower(asked, self.points[row]))
        arrays = self.curves.arrays
        return Recorded(index, Cost(int(arrays["parameters"][index]), int(arrays["macs"][index])))

    def train(self, candidate: Recorded, context: TrialContext) -> Iterator[EpochReport]:
        """The recorded values and seconds.

        Raises:
            Diverged: where it did.
        """
        values, seconds = (
            self.curves.arrays[name][candidate.index] for name in (self.scheme, f"{self.scheme}_seconds")
        )
        for epoch in range(context.epochs_done + 1, context.fidelity + 1):
            if math.isnan(values[epoch - 1]):
                raise Diverged(f"the loss diverged in epoch {epoch}")
            yield EpochReport(epoch, float(values[epoch - 1]), {"seconds": float(seconds[epoch - 1])})

    def warm_starts(self) -> list[WarmStart]:
        """The recorded space's default."""
        return self.space.warm_starts()[:1]

    def prior(self, passes: float) -> Prior | None:
        """The prior of the recorded space at the recorded length."""
        return self.space.prior(self.passes)

    def _point(self, params: Mapping[str, Any]) -> dict[str, Any]:
        fixed = FixedTrial(dict(params))
        self.space.suggest(fixed)
        return _scaled(fixed.params, fixed.distributions)


def _scaled(params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """Numbers in [0, 1] on their own scale, and choices as they are."""
    return {name: _share(value, distributions[name]) for name, value in params.items()}


def _share(value: Any, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return str(value)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    if distribution.log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (value - low) / (high - low) if high > low else 0.0


def gower(first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    """Gower's distance of two scaled points, in [0, 1]."""
    names = first.keys() | second.keys()
    return sum(_difference(first.get(name), second.get(name)) for name in names) / max(1, len(names))


def _difference(first: Any, second: Any) -> float:
    if isinstance(first, float) and isinstance(second, float):
        return abs(first - second)
    return float(first != second)
