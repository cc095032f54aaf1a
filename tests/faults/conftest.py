"""The folder to work in, toy data and small searches of `tests.search_tests`, which faults are inflicted on."""

from __future__ import annotations

from tests.search_tests.conftest import kernels, toy, toy_search, workplace

__all__ = ["kernels", "toy", "toy_search", "workplace"]
