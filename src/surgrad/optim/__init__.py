"""Optimisers and learning-rate schedules, by name.

To add an optimiser: derive a class from `NetworkOptimizer` and add it to `OPTIMIZERS`. To add a schedule: derive a
class from `Schedule` and add it to `SCHEDULES`.
"""

from surgrad.optim.muon import Muon as Muon
from surgrad.optim.optimizers import OPTIMIZERS as OPTIMIZERS
from surgrad.optim.optimizers import NetworkOptimizer as NetworkOptimizer
from surgrad.optim.optimizers import build_optimizers as build_optimizers
from surgrad.optim.optimizers import parameter_groups as parameter_groups
from surgrad.optim.schedules import SCHEDULES as SCHEDULES
from surgrad.optim.schedules import Schedule as Schedule
from surgrad.optim.schedules import scale_lr as scale_lr
