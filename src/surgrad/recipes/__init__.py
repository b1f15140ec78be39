"""Recipes: one function per training, found by its name.

To add one: write a function that returns a `Recipe`, derived from another one where possible, in a file of this folder,
and decorate it with `@recipe`; or with `@rows`, which makes a recipe of each row of a paper's table. Add a new file to
`FILES`.
"""

from surgrad.config.recipe import Recipe
from surgrad.errors import unknown
from surgrad.recipes import (
    conversion,
    dct,
    diet,
    dspike,
    events,
    first,
    gradients,
    imagenet,
    imloss,
    lsg,
    ltmd,
    mlf,
    plif,
    recdis,
    relatives,
    tdbn,
    tebn,
    tet,
)
from surgrad.recipes.registry import RECIPES as RECIPES

DEFAULT = "lsg_fashion_small_t4"
FILES = (
    first,
    lsg,
    dspike,
    tdbn,
    plif,
    tet,
    tebn,
    mlf,
    imloss,
    recdis,
    diet,
    ltmd,
    dct,
    conversion,
    relatives,
    gradients,
    imagenet,
    events,
)
"""Importing a file registers its recipes; they are listed in this order."""

_PLACES = {file.__name__: place for place, file in enumerate(FILES)}
for _name in sorted(RECIPES, key=lambda name: _PLACES[RECIPES[name].__module__]):
    RECIPES[_name] = RECIPES.pop(_name)


def find_recipe(name: str = DEFAULT) -> Recipe:
    """The recipe of that name; raises `UnknownName` with similar names."""
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]()
