"""Which surrogate function, and how wide, for a given network and data: candidates race by short trainings."""

from surgrad.tuning.candidates import AS_IT_IS as AS_IT_IS
from surgrad.tuning.candidates import Candidate as Candidate
from surgrad.tuning.candidates import default_candidates as default_candidates
from surgrad.tuning.modules import tune as tune
from surgrad.tuning.outcome import Outcome as Outcome
from surgrad.tuning.outcome import Standing as Standing
from surgrad.tuning.race import Race as Race
from surgrad.tuning.race import Rung as Rung
from surgrad.tuning.race import planned as planned
from surgrad.tuning.recipes import tune_recipe as tune_recipe
