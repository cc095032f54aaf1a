"""The table of `python -m search.retrain --list-recipes`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from cifar.candidate import RecipeFile
from cifar.recipe import recipe_names
from search.format import format_millions

PARAM_BUDGET = 5_000_000
"""The contest's limit."""


def print_recipes() -> None:
    """Prints every built-in recipe, the smallest network first."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("recipe", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("MACs", justify="right", no_wrap=True)
    table.add_column("5M limit", no_wrap=True)
    table.add_column("published", justify="right", no_wrap=True)
    for recipe in sorted(map(RecipeFile.named, recipe_names()), key=lambda recipe: recipe.candidate.cost.parameters):
        table.add_row(recipe.name, *_cells(recipe))
    console = Console(highlight=False)
    console.print(table)
    console.print("published: test accuracy by the recipe's source, measured as its file says")


def _cells(recipe: RecipeFile) -> tuple[str, ...]:
    cost, published = recipe.candidate.cost, recipe.published
    return (
        f"{cost.parameters:,}",
        format_millions(cost.macs, 0, space=""),
        "within" if cost.parameters <= PARAM_BUDGET else "reference only",
        f"{published.test_accuracy:g} %" if published else "",
    )
