"""Studies: an Optuna search over candidates, retraining, reports and submissions; one module a command.

From Python, the search is one call, and what follows it with `retrain=True` another; loaded when first used::

    from search import SearchSettings, finish_search, run_search
"""

from typing import TYPE_CHECKING

from cifar.lazy import lazy_names

if TYPE_CHECKING:
    from search.finish import finish_search
    from search.session import run_search
    from search.settings import SearchSettings
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {"SearchSettings": "search.settings", "finish_search": "search.finish", "run_search": "search.session"},
    )

__all__ = ["SearchSettings", "finish_search", "run_search"]
