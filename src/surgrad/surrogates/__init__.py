"""Surrogate functions, and the slot of their width.

To add a surrogate function: write its step and slope in `simple.py` (or, with constants besides the width, in
`families.py`), add its constructor to `SURROGATE_BUILDERS` in `registry.py` and a row to docs/surrogates.md, run
scripts/generate_slopes.py, which writes the slopes of the compiled kernels, and build the C++ kernel again. The
contract tests find it through the registry.
"""

from surgrad.surrogates.base import CONSTANTS as CONSTANTS
from surgrad.surrogates.base import SurrogateFunction as SurrogateFunction
from surgrad.surrogates.base import surrogate_function as surrogate_function
from surgrad.surrogates.equivalent import equivalent_half_width as equivalent_half_width
from surgrad.surrogates.equivalent import width_of_equivalent as width_of_equivalent
from surgrad.surrogates.families import dspike as dspike
from surgrad.surrogates.families import leaky_box as leaky_box
from surgrad.surrogates.families import multi_gaussian as multi_gaussian
from surgrad.surrogates.families import q_pseudospike as q_pseudospike
from surgrad.surrogates.families import tilted as tilted
from surgrad.surrogates.registry import SURROGATE_BUILDERS as SURROGATE_BUILDERS
from surgrad.surrogates.registry import SURROGATES as SURROGATES
from surgrad.surrogates.registry import find_surrogate as find_surrogate
from surgrad.surrogates.slot import Surrogate as Surrogate
from surgrad.surrogates.slot import find_surrogates as find_surrogates
from surgrad.surrogates.slot import keep_positive as keep_positive
from surgrad.surrogates.slot import spike as spike
