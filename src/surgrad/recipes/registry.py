"""The registry that recipes enter by being defined."""

from collections.abc import Callable

from surgrad.train.recipe import Recipe

RECIPES: dict[str, Callable[[], Recipe]] = {}


def recipe(function: Callable[[], Recipe]) -> Callable[[], Recipe]:
    """Register a recipe under its function's name, which the recipe must bear."""
    RECIPES[function.__name__] = function
    return function
