"""The registry of controllers."""

from typing import Any

from surgrad.adapt.base import Controller
from surgrad.adapt.dgs import DGS
from surgrad.adapt.dspike import Dspike
from surgrad.adapt.esg import ESG
from surgrad.adapt.followers import DSATGO, LSG, MPDAGL
from surgrad.adapt.prescribed import Fixed, Schedule
from surgrad.adapt.share import KeepShare
from surgrad.config.registry import Registry

CONTROLLERS: Registry[type[Controller]] = Registry(
    "controller",
    {
        "fixed": Fixed,
        "schedule": Schedule,
        "lsg": LSG,
        "mpd_agl": MPDAGL,
        "ds_atgo": DSATGO,
        "esg": ESG,
        "share": KeepShare,
        "dspike": Dspike,
        "dgs": DGS,
    },
)


def build(name: str, **options: Any) -> Controller:
    """The controller of that name, with these options: `build("esg", low=0.3)`."""
    controller: Controller = CONTROLLERS.build(name, options)
    return controller
