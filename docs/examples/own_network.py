"""Searches a network of your own: `python -m search.run --space docs/examples/own_network.py`.

`register` makes the network known to candidates; retraining needs `--space docs/examples/own_network.py` too.
"""

from __future__ import annotations

from dataclasses import dataclass

from optuna.trial import BaseTrial
from torch import nn

from cifar import Candidate, Cost, Recipe, measure_cost, register
from cifar.recipe import Optimizer, Schedule
from spaces import Problem, SearchSpace


@register
@dataclass(frozen=True)
class SmallCnn:
    """Two convolutions and a linear layer."""

    kind: str = "small_cnn"
    width: int = 16
    num_classes: int = 10
    image_size: int = 32

    def build(self) -> nn.Module:
        """(B, 3, S, S) images to (B, num_classes) logits."""
        return nn.Sequential(
            nn.Conv2d(3, self.width, 3, stride=2, padding=1),
            nn.BatchNorm2d(self.width),
            nn.ReLU(),
            nn.Conv2d(self.width, 2 * self.width, 3, stride=2, padding=1),
            nn.BatchNorm2d(2 * self.width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(2 * self.width, self.num_classes),
        )

    def cost(self) -> Cost:
        """Measured on the built network; a closed form would be faster."""
        return measure_cost(self.build(), self.image_size)

    def with_classes(self, num_classes: int, image_size: int) -> SmallCnn:
        """The same network for other data."""
        return SmallCnn(width=self.width, num_classes=num_classes, image_size=image_size)


class SmallCnnSpace(SearchSpace):
    """Width, learning rate and label smoothing."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.param_budget = problem.param_budget or 20_000  # a proposal above it is infeasible and not trained

    def suggest(self, trial: BaseTrial) -> Candidate:
        """The candidate of the trial's parameters."""
        network = SmallCnn(
            width=trial.suggest_int("width", 4, 64),
            num_classes=self.problem.num_classes,
            image_size=self.problem.image_size,
        )
        lr = trial.suggest_float("lr", 0.01, 0.5, log=True)
        smoothing = trial.suggest_float("label_smoothing", 0.0, 0.2)
        optimizer = Optimizer("sgd", lr=lr, nesterov=True)
        recipe = Recipe(epochs=30, optimizer=optimizer, schedule=Schedule("one_cycle", 6), label_smoothing=smoothing)
        return Candidate(network, recipe)


space = SmallCnnSpace
