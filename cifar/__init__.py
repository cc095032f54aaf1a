"""Trains and evaluates one network on CIFAR-10-sized images; knows nothing of studies.

What users import, loaded when first used::

    from cifar import Candidate, load_model
"""

from typing import TYPE_CHECKING

from cifar.lazy import lazy_names

if TYPE_CHECKING:
    from cifar.candidate import Candidate
    from cifar.checkpoint import TrainedModel, load_model
    from cifar.data.prepare import prepare
    from cifar.errors import Diverged, UserError
    from cifar.networks.complexity import Cost, measure_cost
    from cifar.networks.registry import register
    from cifar.networks.resnet import ResNetConfig
    from cifar.recipe import Recipe
    from cifar.train import Training
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Candidate": "cifar.candidate",
            "Cost": "cifar.networks.complexity",
            "Diverged": "cifar.errors",
            "Recipe": "cifar.recipe",
            "ResNetConfig": "cifar.networks.resnet",
            "TrainedModel": "cifar.checkpoint",
            "Training": "cifar.train",
            "UserError": "cifar.errors",
            "load_model": "cifar.checkpoint",
            "measure_cost": "cifar.networks.complexity",
            "prepare": "cifar.data.prepare",
            "register": "cifar.networks.registry",
        },
    )

__all__ = [
    "Candidate",
    "Cost",
    "Diverged",
    "Recipe",
    "ResNetConfig",
    "TrainedModel",
    "Training",
    "UserError",
    "load_model",
    "measure_cost",
    "prepare",
    "register",
]
