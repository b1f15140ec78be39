"""Configuration: recipes, their parts and options; all of it without torch."""

from surgrad.config.reading import from_dict as from_dict
from surgrad.config.recipe import DataConfig as DataConfig
from surgrad.config.recipe import ModelConfig as ModelConfig
from surgrad.config.recipe import NeuronConfig as NeuronConfig
from surgrad.config.recipe import OptimConfig as OptimConfig
from surgrad.config.recipe import Part as Part
from surgrad.config.recipe import PenaltyConfig as PenaltyConfig
from surgrad.config.recipe import ProgressiveConfig as ProgressiveConfig
from surgrad.config.recipe import Recipe as Recipe
from surgrad.config.recipe import RunConfig as RunConfig
from surgrad.config.recipe import SurrogateConfig as SurrogateConfig
from surgrad.config.recipe import derive as derive
from surgrad.config.recipe import to_dict as to_dict
from surgrad.config.text import set_fields as set_fields
