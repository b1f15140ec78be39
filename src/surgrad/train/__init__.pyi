"""The public names of surgrad.train."""

from surgrad.config.recipe import Recipe as Recipe
from surgrad.config.recipe import derive as derive
from surgrad.train.building import build as build
from surgrad.train.converting import convert_run as convert_run
from surgrad.train.events import Observer as Observer
from surgrad.train.instruments import diagnose_recipe as diagnose_recipe
from surgrad.train.instruments import energy_of_run as energy_of_run
from surgrad.train.loading import load_run as load_run
from surgrad.train.loggers import loggers_by_name as loggers_by_name
from surgrad.train.run import evaluate_run as evaluate_run
from surgrad.train.run import train as train
