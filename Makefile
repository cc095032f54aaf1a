# Needs: pip install -e '.[test]'
.PHONY: check lint format types layers test slow

check: lint types layers

lint:
	ruff check .
	ruff format --check .

format:
	ruff check --fix .
	ruff format .

types:
	mypy

layers:
	lint-imports

test:
	pytest

slow:
	pytest -m slow
