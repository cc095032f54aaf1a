"""Finds a search space by name, by `package.module:attribute`, or by the path of a Python file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from cifar.errors import UserError
from spaces.base import Problem, SearchSpace, SpaceError
from spaces.resnet_budget5m import resnet_budget5m, resnet_budget30k, resnet_budget300k

BUILT_IN: dict[str, Callable[[Problem], SearchSpace]] = {
    space.__name__: space for space in (resnet_budget5m, resnet_budget300k, resnet_budget30k)
}
FILE_ATTRIBUTE = "space"  # what a Python file must define

FORMS = (
    f"a built-in name ({', '.join(BUILT_IN)}), package.module:attribute, "
    f"or the path of a Python file that defines `{FILE_ATTRIBUTE}`"
)


def load_space(reference: str, problem: Problem) -> SearchSpace:
    """The space of that name, attribute or file, made for `problem`.

    A file or attribute holds a `SearchSpace` object, or something that is called with the `Problem` and gives one.

    Raises:
        SpaceError: unknown, not importable, or without a method `suggest`.
        InfeasibleError: no network fits the problem's limits.
    """
    found: Any = BUILT_IN.get(reference) or _attribute(reference)
    if isinstance(found, type) or not hasattr(found, "suggest"):
        found = _made(found, problem, reference) if callable(found) else found
    if not callable(getattr(found, "suggest", None)) or not callable(getattr(found, "train", None)):
        raise SpaceError(
            "a space must offer suggest(trial) and train(candidate, context)",
            got=f"{type(found).__name__} from {reference}",
            remedy="Subclass spaces.base.SearchSpace",
        )
    space: SearchSpace = found
    _limit(space, problem)
    return space


def _made(factory: Callable[[Problem], Any], problem: Problem, reference: str) -> Any:
    try:
        return factory(problem)
    except UserError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise SpaceError(f"{reference} must be callable with a Problem", got=reason, remedy="Mend it") from error


def _limit(space: SearchSpace, problem: Problem) -> None:
    """Lets limits that the user gave bind a space that does not solve for them; it must then reject proposals."""
    for name in ("param_budget", "mac_budget"):
        given = getattr(problem, name)
        if given is not None and getattr(space, name) != given:
            setattr(space, name, given)


def _attribute(reference: str) -> Any:
    if reference.endswith(".py"):
        return _get(_module_of_file(Path(reference)), FILE_ATTRIBUTE, reference)
    module, colon, attribute = reference.partition(":")
    if not (module and colon and attribute):
        raise SpaceError(f"a space is {FORMS}", got=repr(reference), remedy="Use resnet_budget5m")
    try:
        return _get(importlib.import_module(module), attribute, reference)
    except ImportError as error:
        raise SpaceError("a space's module must be importable", got=str(error), remedy="Check the name") from error


def _get(module: ModuleType, attribute: str, reference: str) -> Any:
    if not hasattr(module, attribute):
        raise SpaceError(f"{reference} must define {attribute!r}", got="no such name", remedy="Define it at top level")
    return getattr(module, attribute)


def _module_of_file(path: Path) -> ModuleType:
    """The module of a file; registered under its path so that its dataclasses and pickles work."""
    if not path.is_file():
        raise SpaceError("a space's file must exist", got=path, remedy="Check the path")
    name = f"space_file_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise SpaceError(
            f"{path} must run without errors", got=f"{type(error).__name__}: {error}", remedy="Mend it"
        ) from error
    return module
