"""Adaptive widths: controllers decide, the adapter writes. README.md has a card for each method.

To add a controller: write its file and its card, and add it to `CONTROLLERS`.
"""

from collections.abc import Callable
from typing import Any

from surgrad.adapt.base import Adapter as Adapter
from surgrad.adapt.base import Controller as Controller
from surgrad.adapt.base import Moment as Moment
from surgrad.adapt.fixed import fixed as fixed
from surgrad.adapt.follow import follow as follow
from surgrad.adapt.follow import lsg_width as lsg_width
from surgrad.adapt.probe import Probe as Probe
from surgrad.adapt.schedule import schedule as schedule
from surgrad.adapt.wrappers import clip as clip
from surgrad.adapt.wrappers import every as every

RULES = {"lsg": lsg_width}

# How a recipe's `adapt` fields (controller, rule, start, end: `surgrad.train.recipe.AdaptConfig`) make a controller.
CONTROLLERS: dict[str, Callable[[Any], Controller]] = {
    "fixed": lambda config: fixed(),
    "schedule": lambda config: schedule(lambda progress: config.start * (config.end / config.start) ** progress),
    "follow": lambda config: follow(RULES[config.rule]),
}
