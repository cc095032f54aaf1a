"""Finds a search space by name, by `package.module:attribute`, or by the path of a Python file."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

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

    A file or attribute holds a `SearchSpace`, or a class or function that makes one from the `Problem`.

    Raises:
        SpaceError: unknown, not importable, or no `SearchSpace`.
        InfeasibleError: no network fits the problem's limits.
    """
    found = BUILT_IN.get(reference) or _attribute(reference)
    if not isinstance(found, SearchSpace) and callable(found):
        found = _made(found, problem, reference)
    if not isinstance(found, SearchSpace):
        raise SpaceError(
            "a space must be a SearchSpace, or a class or function that makes one from a Problem",
            got=f"{type(found).__name__} from {reference}",
            remedy="Subclass spaces.base.SearchSpace",
        )
    _limit(found, problem)
    return found


def _made(factory: Callable[[Problem], object], problem: Problem, reference: str) -> object:
    try:
        return factory(problem)
    except UserError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise SpaceError(f"{reference} must be callable with a Problem", got=reason, remedy="Fix it") from error


def _limit(space: SearchSpace, problem: Problem) -> None:
    """Has the user's limits bind a space that does not solve for them: proposals above them are then infeasible."""
    for name in ("param_budget", "mac_budget"):
        given = getattr(problem, name)
        if given is not None and getattr(space, name) != given:
            setattr(space, name, given)


def _attribute(reference: str) -> object:
    if reference.endswith(".py"):
        return _get(_module_of_file(Path(reference)), FILE_ATTRIBUTE, reference)
    module, colon, attribute = reference.partition(":")
    if not (module and colon and attribute):
        raise SpaceError(f"a space is {FORMS}", got=repr(reference), remedy="Use resnet_budget5m")
    try:
        found = importlib.import_module(module)
    except Exception as error:  # also what the module itself raises
        reason = str(error) if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        raise SpaceError("a space's module must be importable", got=reason, remedy="Check the name") from error
    return _get(found, attribute, reference)


def _get(module: ModuleType, attribute: str, reference: str) -> object:
    if not hasattr(module, attribute):
        raise SpaceError(f"{reference} must define {attribute!r}", got="no such name", remedy="Define it at top level")
    found: object = getattr(module, attribute)
    return found


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
            f"{path} must run without errors", got=f"{type(error).__name__}: {error}", remedy="Fix it"
        ) from error
    return module
