"""Adaptive widths: controllers choose the widths, the `Adapter` writes them. README.md has a card for each method.

To add a controller: write its class and its card, and add it to `CONTROLLERS` in `controllers.py`. The annotated
keyword arguments of its constructor are its options in a recipe.
"""

from typing import TYPE_CHECKING

from surgrad.adapt.adapter import Adapter as Adapter
from surgrad.adapt.base import Controller as Controller
from surgrad.adapt.base import StepContext as StepContext
from surgrad.adapt.controllers import CONTROLLERS as CONTROLLERS
from surgrad.adapt.dgs import DGS as DGS
from surgrad.adapt.dspike import Dspike as Dspike
from surgrad.adapt.esg import ESG as ESG
from surgrad.adapt.followers import DSATGO as DSATGO
from surgrad.adapt.followers import LSG as LSG
from surgrad.adapt.followers import MPDAGL as MPDAGL
from surgrad.adapt.followers import RULES as RULES
from surgrad.adapt.followers import Follow as Follow
from surgrad.adapt.followers import lsg_width as lsg_width
from surgrad.adapt.prescribed import LAWS as LAWS
from surgrad.adapt.prescribed import Fixed as Fixed
from surgrad.adapt.prescribed import Schedule as Schedule
from surgrad.adapt.probe import Probe as Probe
from surgrad.adapt.share import KeepShare as KeepShare
from surgrad.adapt.wrappers import Clip as Clip
from surgrad.adapt.wrappers import Every as Every
from surgrad.deprecated import renamed

if not TYPE_CHECKING:  # a type checker shall refuse names that do not exist
    __getattr__ = renamed(
        __name__,
        {
            "fixed": "Fixed",
            "schedule": "Schedule",
            "follow": "Follow",
            "steer": "ESG",
            "search": "Dspike",
            "compete": "DGS",
            "clip": "Clip",
            "every": "Every",
            "Moment": "StepContext",
            "make": "surgrad.adapt.controllers.build",
        },
    )
