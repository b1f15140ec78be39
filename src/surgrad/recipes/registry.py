"""The registry of recipes, and the decorators that add to it."""

from collections.abc import Callable, Mapping

from surgrad.config.recipe import Recipe, derive

RECIPES: dict[str, Callable[[], Recipe]] = {}
TITLES = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "imagenet": "ImageNet",
    "cifar10_dvs": "CIFAR10-DVS",
    "dvs_gesture": "DVS128 Gesture",
    "n_mnist": "N-MNIST",
}


def recipe(function: Callable[[], Recipe]) -> Callable[[], Recipe]:
    """Register a recipe under its function's name, which must also be the recipe's name."""
    RECIPES[function.__name__] = function
    return function


def rows(
    method: str,
    network: str,
    published: Mapping[tuple[str, int], float | None],
    *,
    title: str,
    source: str,
    deviations: str | None = None,
    suffix: str = "",
) -> Callable[[Callable[[], Recipe]], Callable[[], Recipe]]:
    """Register the rows of a paper's table as recipes.

    Each data set and T of `published` makes a recipe from the function's, named
    `<method>_<data>_<network>_t<T><suffix>`.

    Args:
        method: first word of the name.
        network: as in titles; "ResNet-19" becomes "resnet19" in the name.
        published: the paper's test accuracy by data set and T, None where there is none.
        title: start of the summary, before network and data set.
        source: paper and table.
        deviations: what differs from the source, and why (`Recipe.deviations`).
        suffix: end of the name.
    """

    def enter(function: Callable[[], Recipe]) -> Callable[[], Recipe]:
        for (data, steps), share in published.items():
            name = f"{method}_{data.replace('_', '')}_{network.lower().replace('-', '')}_t{steps}{suffix}"
            RECIPES[name] = _row(
                function, name, f"{title}, {network}, {TITLES[data]}, T={steps}", source, share, deviations, data, steps
            )
        return function

    return enter


def _row(
    function: Callable[[], Recipe],
    name: str,
    summary: str,
    source: str,
    published: float | None,
    deviations: str | None,
    data: str,
    steps: int,
) -> Callable[[], Recipe]:
    def row() -> Recipe:
        recipe = function()
        time = {} if recipe.neuron.name == "relu" else {"steps": steps}  # an ANN's T is that of its conversion
        return derive(
            recipe,
            name=name,
            summary=summary,
            source=source,
            published=published,
            deviations=deviations,
            data={"name": data},
            model=time,
        )

    row.__module__ = function.__module__
    return row
