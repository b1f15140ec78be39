"""Recipes: one function per training, found by its name.

To add one: write a function that returns a `Recipe`, derived from another one where possible, in a file of this folder,
and decorate it with `@recipe`; or with `@rows`, which makes a recipe of each row of a paper's table. Add a new file to
`FILES`. A recipe in a file outside the package needs no registration: `surgrad train path/to/file.py:function`.
"""

from importlib import import_module
from pathlib import Path

from surgrad.config.plugins import load_file, load_plugins
from surgrad.config.reading import from_dict
from surgrad.config.recipe import Recipe
from surgrad.errors import BadValue, unknown
from surgrad.files import read_json
from surgrad.recipes.registry import RECIPES as RECIPES
from surgrad.recipes.registry import recipe as recipe
from surgrad.recipes.registry import rows as rows

DEFAULT = "lsg_fashion_small_t4"
FILES = (
    "first",
    "speed",
    "lsg",
    "dspike",
    "tdbn",
    "plif",
    "tet",
    "tebn",
    "mlf",
    "imloss",
    "recdis",
    "diet",
    "ltmd",
    "dct",
    "conversion",
    "relatives",
    "gradients",
    "imagenet",
    "events",
)
"""Importing a file registers its recipes; they are listed in this order."""

for _file in FILES:
    import_module(f"surgrad.recipes.{_file}")


def find_recipe(name: str = DEFAULT) -> Recipe:
    """A recipe by its name, by the Python file and the function that returns it, or from the recipe.json of a run.

    Args:
        name: a name that `surgrad list` shows, "path/to/file.py:function", or "path/to/recipe.json".

    Raises:
        UnknownName: no recipe has this name; the error offers similar names.
        BadValue: the file or the function does not exist, or the function does not return a `Recipe`.
    """
    if ".py:" in name:
        return _from_file(name)
    load_plugins()
    if name.endswith(".json"):
        return from_dict(read_json(Path(name)))
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES, "`surgrad list` shows all of them")
    return RECIPES[name]()


def _from_file(name: str) -> Recipe:
    path, _, function = name.rpartition(":")
    made = getattr(load_file(Path(path)), function, None)
    if not callable(made):
        raise BadValue(f"{path} has no function '{function}'; write one that returns a surgrad Recipe")
    found = made()
    if not isinstance(found, Recipe):
        raise BadValue(f"{name} returned {type(found).__name__}; return a surgrad.Recipe")
    return found
