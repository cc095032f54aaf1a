"""What the packages offer at the top: every name, and nothing heavy before one is used."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

PACKAGES = ("cifar", "spaces", "search")
HEAVY = {"torch", "optuna", "pandas", "plotly", "pydantic", "numpy", "ray"}


@pytest.mark.parametrize("name", PACKAGES)
def test_every_offered_name_is_found(name: str) -> None:
    package = importlib.import_module(name)
    assert list(package.__all__) == dir(package)
    for offered in package.__all__:
        found = getattr(package, offered)
        assert found.__name__ == offered
        assert found.__doc__
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nonsense'"):
        package.nonsense  # noqa: B018


@pytest.mark.parametrize("name", PACKAGES)
def test_importing_a_package_loads_nothing_heavy(name: str) -> None:
    code = f"import {name}, sys; dir({name}); print(sorted({HEAVY} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_settings_are_light() -> None:
    code = f"from search import SearchSettings; import sys; SearchSettings(); print(sorted({HEAVY} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
