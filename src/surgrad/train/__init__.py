"""Training: recipes built, run, checkpointed, resumed and evaluated in a run folder."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surgrad.config.recipe import Recipe as Recipe
    from surgrad.config.recipe import derive as derive
    from surgrad.train.converting import convert_run as convert_run
    from surgrad.train.events import Observer as Observer
    from surgrad.train.instruments import diagnose_recipe as diagnose_recipe
    from surgrad.train.instruments import energy_of_run as energy_of_run
    from surgrad.train.loading import load_run as load_run
    from surgrad.train.loggers import loggers_by_name as loggers_by_name
    from surgrad.train.run import evaluate_run as evaluate_run
    from surgrad.train.run import train as train

# Loaded when first used, so that recipes can be listed without waiting for torch.
_HOMES = {
    "Recipe": "config.recipe",
    "derive": "config.recipe",
    "train": "train.run",
    "Observer": "train.events",
    "load_run": "train.loading",
    "loggers_by_name": "train.loggers",
    "evaluate_run": "train.run",
    "convert_run": "train.converting",
    "diagnose_recipe": "train.instruments",
    "energy_of_run": "train.instruments",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"surgrad.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'surgrad.train' has no attribute '{name}'")
