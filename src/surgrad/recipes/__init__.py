"""Recipes: one function a training, found by its name.

To add one: write a function that returns a `Recipe`, derived from another where it can be, and decorate it with
`@recipe`, in a file here that FILES names.
"""

from surgrad.errors import unknown
from surgrad.recipes import first, lsg, tdbn
from surgrad.recipes.registry import RECIPES as RECIPES
from surgrad.train.recipe import Recipe

DEFAULT = "lsg_fashion_small_t4"
FILES = (first, lsg, tdbn)  # importing a file registers its recipes


def find_recipe(name: str = DEFAULT) -> Recipe:
    """The recipe of that name; raises `UnknownName` with the nearest."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]()
