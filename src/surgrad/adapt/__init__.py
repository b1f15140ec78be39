"""Adaptive widths: controllers decide, the adapter writes. README.md has a card for each method.

To add a controller: write its file and its card, and add it to `CONTROLLERS`.
"""

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

CONTROLLERS: dict[str, type[Controller]] = {"fixed": fixed, "schedule": schedule, "follow": follow}
RULES = {"lsg": lsg_width}
