"""What may be tried: a search space turns an Optuna trial into a candidate (network + recipe).

What users import, loaded when first used::

    from spaces import EpochReport, OwnCandidate, SearchSpace, TrialContext
"""

from typing import TYPE_CHECKING

from cifar.lazy import lazy_names

if TYPE_CHECKING:
    from spaces.base import (
        EpochReport,
        OwnCandidate,
        Prior,
        Problem,
        Proposal,
        SearchSpace,
        SpaceError,
        TrialContext,
        WarmStart,
    )
    from spaces.registry import load_space
    from spaces.resnet_budget5m import ResNetSpace
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "EpochReport": "spaces.base",
            "OwnCandidate": "spaces.base",
            "Prior": "spaces.base",
            "Problem": "spaces.base",
            "Proposal": "spaces.base",
            "ResNetSpace": "spaces.resnet_budget5m",
            "SearchSpace": "spaces.base",
            "SpaceError": "spaces.base",
            "TrialContext": "spaces.base",
            "WarmStart": "spaces.base",
            "load_space": "spaces.registry",
        },
    )

__all__ = [
    "EpochReport",
    "OwnCandidate",
    "Prior",
    "Problem",
    "Proposal",
    "ResNetSpace",
    "SearchSpace",
    "SpaceError",
    "TrialContext",
    "WarmStart",
    "load_space",
]
