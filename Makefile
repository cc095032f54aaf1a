# Needs: pip install -e '.[dev]'
.PHONY: check lint format types layers test coverage slow commands pictures hooks

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

coverage:
	pytest -q -rs --durations=10 --cov --cov-report=term

slow:
	pytest -m slow

commands:
	python -m tests.command_reference

# of the README, from a study in studies/: make pictures STUDY=resnet_budget5m
pictures:
	python -m tests.pictures $(STUDY)

hooks:
	pre-commit install
