"""Do averaged weights rank short runs better? `python -m benchmarks.ema_at_rungs --data PATH`.

Trains random candidates of a space in full and validates, after each epoch, both the network and the exponential
moving average (EMA) of its weights. What a rung needs is the order of the final accuracies: Spearman's correlation of
either's values at each rung with the final accuracy of the network, with the standard error over bootstrap samples of
the candidates.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace

import numpy as np
import optuna
import pandas as pd

from cifar.candidate import Candidate
from cifar.data.prepare import prepare
from cifar.data.splits import load_training_split
from cifar.errors import Diverged
from cifar.prediction import predict_probabilities
from cifar.runtime.device import choose_device
from cifar.train import Training
from search.planning.rungs import rungs_from_top
from search.reporting.studies.rank_correlation import spearman
from spaces.base import Problem
from spaces.registry import load_space

DECAY = 0.99  # the average then reaches back about a hundred steps
BOOTSTRAPS = 500


def curves(space: str, data: str | None, count: int, epochs: int, size: int, device: str) -> tuple[pd.DataFrame, ...]:
    """Validation accuracy of network and average, one row a candidate, one column an epoch."""
    source, where = prepare(data), choose_device(device)
    split = load_training_split(source, val_size=5000, train_size=size, val_limit=2000)
    problem = Problem(num_classes=len(source.class_names), image_size=source.image_size)
    proposals, study = load_space(space, problem), optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    plain: list[list[float]] = []
    averaged: list[list[float]] = []
    while len(plain) < count:
        trial = study.ask()
        candidate = proposals.suggest(trial)
        assert isinstance(candidate, Candidate)
        recipe = replace(candidate.recipe, ema_decay=DECAY)
        training = Training(replace(candidate, recipe=recipe), split, device=where, epochs=epochs, seed=trial.number)
        mine: list[float] = []
        average: list[float] = []
        try:
            for result in training.run():
                probabilities = predict_probabilities(
                    training.network,
                    split.val.images,
                    training.normalization,
                    device=where.torch_device,
                    autocast=where.autocast,
                )
                mine.append((probabilities.argmax(1) == split.val.labels).float().mean().item())
                average.append(result.val_accuracy or 0.0)
        except Diverged:
            continue
        plain.append(mine)
        averaged.append(average)
        print(f"candidate {len(plain)}: {mine[-1]:.3f}, averaged {average[-1]:.3f}", file=sys.stderr, flush=True)
    names = range(1, epochs + 1)
    return pd.DataFrame(plain, columns=names), pd.DataFrame(averaged, columns=names)


def correlation(values: pd.Series[float], final: pd.Series[float]) -> dict[str, float]:
    """Spearman's correlation and its bootstrap standard error."""
    draws = np.random.default_rng(0).integers(len(final), size=(BOOTSTRAPS, len(final)))
    found = [spearman(list(values.iloc[d]), list(final.iloc[d])) for d in draws]
    samples = [rho for rho in found if rho is not None]
    return {"rho": round(spearman(list(values), list(final)) or 0.0, 3), "stderr": round(float(np.std(samples)), 3)}


def main() -> int:
    """Trains, prints a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ema_at_rungs", description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="images, as for search.run")
    parser.add_argument("--space", default="resnet_budget30k", help="whose candidates are trained")
    parser.add_argument("--candidates", type=int, default=16, help="how many")
    parser.add_argument("--epochs", type=int, default=8, help="of a full trial")
    parser.add_argument("--train-size", type=int, default=4000, help="images an epoch")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    plain, averaged = curves(args.space, args.data, args.candidates, args.epochs, args.train_size, args.device)
    final = plain[args.epochs]
    rows = {
        str(rung): {"network": correlation(plain[rung], final), "average": correlation(averaged[rung], final)}
        for rung in rungs_from_top(1, args.epochs, 2)
    }
    print(json.dumps(rows, indent=2) if args.json else markdown(rows, args.epochs))
    return 0


def markdown(rows: dict[str, dict[str, dict[str, float]]], epochs: int) -> str:
    """The correlations as a table."""
    lines = [f"| rank correlation with the network after {epochs} epochs | network | average |", "|---|---|---|"]
    for rung, row in rows.items():
        cells = (f"{row[kind]['rho']:.2f} ± {row[kind]['stderr']:.2f}" for kind in ("network", "average"))
        lines.append(f"| after {rung} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
