"""The C++ kernel for the CPU, called through a plain C interface: one build serves every release of torch.

It runs on the threads of the OpenMP runtime that torch has already loaded, found by its symbol GOMP_parallel; without
one, and in a forked process, on the calling thread alone.
"""

from surgrad.kernels.lif.native.binding import DTYPES as DTYPES
from surgrad.kernels.lif.native.binding import GENERATED as GENERATED
from surgrad.kernels.lif.native.binding import available as available
from surgrad.kernels.lif.native.binding import backward as backward
from surgrad.kernels.lif.native.binding import forward as forward
from surgrad.kernels.lif.native.binding import moments as moments
from surgrad.kernels.lif.native.binding import pack as pack
from surgrad.kernels.lif.native.binding import remedy as remedy
from surgrad.kernels.lif.native.binding import unpack as unpack
from surgrad.kernels.lif.native.binding import why_not as why_not
