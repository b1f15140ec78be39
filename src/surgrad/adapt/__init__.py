"""Adaptive widths: controllers decide, the adapter writes. README.md has a card for each method.

To add a controller: write its file and its card, and add it to `CONTROLLERS`; what it is called with are its knobs in
a recipe (`surgrad.config.recipe.AdaptConfig`).
"""

import inspect
from collections.abc import Callable
from typing import Any

from surgrad.adapt.base import Adapter as Adapter
from surgrad.adapt.base import Controller as Controller
from surgrad.adapt.base import StepContext as StepContext
from surgrad.adapt.constant import fixed as fixed
from surgrad.adapt.dgs import compete as compete
from surgrad.adapt.dspike import search as search
from surgrad.adapt.esg import steer as steer
from surgrad.adapt.followers import RULES as RULES
from surgrad.adapt.followers import follow as follow
from surgrad.adapt.followers import lsg_width as lsg_width
from surgrad.adapt.probe import Probe as Probe
from surgrad.adapt.scheduled import LAWS as LAWS
from surgrad.adapt.scheduled import schedule as schedule
from surgrad.adapt.wrappers import clip as clip
from surgrad.adapt.wrappers import every as every
from surgrad.errors import BadValue, unknown

CONTROLLERS: dict[str, Callable[..., Controller]] = {
    "fixed": fixed,
    "schedule": schedule,
    "follow": follow,
    "steer": steer,
    "search": search,
    "compete": compete,
}


def make(name: str, **knobs: Any) -> Controller:
    """A controller by its name. A knob that is None has its default; one that the controller lacks is refused."""
    if name not in CONTROLLERS:
        raise unknown("controller", name, CONTROLLERS)
    takes = inspect.signature(CONTROLLERS[name]).parameters
    given = {knob: value for knob, value in knobs.items() if value is not None}
    for knob in given:
        if knob not in takes:
            raise BadValue(
                f"adapt.{knob} is set, and controller '{name}' has no such knob; leave it out, or give one "
                f"of {', '.join(takes) or 'none'}"
            )
    return CONTROLLERS[name](**given)
