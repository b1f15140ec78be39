"""Training: recipes built, run, checkpointed, resumed and evaluated in a run folder."""

from surgrad.train.recipe import Recipe as Recipe
from surgrad.train.recipe import derive as derive
from surgrad.train.run import evaluate_run as evaluate_run
from surgrad.train.run import train as train
