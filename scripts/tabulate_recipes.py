"""Compare the papers' figures with ours: write src/surgrad/recipes/reproduced.json, which `surgrad list` shows, and
docs/recipes.md, both from the trainings under records/.

    python scripts/tabulate_recipes.py

A training counts for a recipe if it differs from the recipe only in its seed and in how it was computed.
"""

import json
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev

from surgrad.config.reading import from_dict
from surgrad.config.recipe import Recipe
from surgrad.config.text import differences
from surgrad.recipes import RECIPES
from surgrad.recipes.reproduced import FILE, Reproduced

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "recipes.md"
FREE = ("seed", "summary", "source", "published", "deviations", "run.")
HEAD = """# Recipes and reproduced results

All recipes, with the figure of the table row that each one reproduces: `surgrad train RECIPE --data DIR`. *Published*
is the paper's test accuracy. *Reproduced* is ours at the final epoch, from the trainings under [records/](../records/):
mean ± standard deviation over the seeds. A dash means that there is no published figure, or that no such training was
run to its end here. Settings that a paper does not state are marked in the recipe's file under
[src/surgrad/recipes/](../src/surgrad/recipes/). This page is written by `scripts/tabulate_recipes.py`.

| recipe | description | published | reproduced | seeds | source | differs from its source |
| --- | --- | --- | --- | --- | --- | --- |
"""


def of_recipe(recipe: Recipe) -> bool:
    """Whether this is the recipe registered under its name."""
    if recipe.name not in RECIPES:
        return False
    lines = differences(RECIPES[recipe.name](), recipe)
    return all(line.startswith(FREE) for line in lines)


def collected(records: Path) -> dict[str, Reproduced]:
    """Return the accuracies of all complete trainings below a folder, by recipe."""
    found = defaultdict(list)
    for path in sorted(records.rglob("metrics.jsonl")):  # a converted network has a recipe.json and no metrics
        recipe = from_dict(json.loads(path.with_name("recipe.json").read_text()))
        last = json.loads(path.read_text().splitlines()[-1])
        if last["epoch"] == recipe.optim.epochs and of_recipe(recipe):
            found[recipe.name].append(last["test_accuracy"])
    return {
        name: Reproduced(mean(shares), stdev(shares) if len(shares) > 1 else None, len(shares))
        for name, shares in found.items()
    }


def table(ours: dict[str, Reproduced]) -> str:
    rows = []
    for name, build in RECIPES.items():
        recipe = build()
        mine = ours.get(name)
        differs = "–" if recipe.deviations is None else recipe.deviations or "in nothing that we know"
        published = "–" if recipe.published is None else f"{100 * recipe.published:.2f} %"
        rows.append(
            f"| `{name}` | {recipe.summary} | {published} | {mine or '–'} | {mine.seeds if mine else '–'} | "
            f"{recipe.source} | {differs} |\n"
        )
    return HEAD + "".join(rows)


def text(ours: dict[str, Reproduced]) -> str:
    return json.dumps({name: asdict(row) for name, row in ours.items()}, indent=1) + "\n"


if __name__ == "__main__":
    ours = collected(ROOT / "records")
    FILE.write_text(text(ours))
    TABLE.write_text(table(ours))
    print(f"{len(ours)} of {len(RECIPES)} recipes were run to their end")
