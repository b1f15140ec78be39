"""Pages and pictures of run folders.

Nothing here needs torch, except one figure of `write_figures` (a family of surrogate functions); matplotlib is loaded
when something is drawn.
"""

from surgrad.report.diagnosis import write_diagnosis
from surgrad.report.figures import write_figures
from surgrad.report.page import write_report
from surgrad.report.pictures import overview_picture, write_conversion, write_costs, write_scores
from surgrad.report.read import Run, read_run
from surgrad.report.recording import write_recording

__all__ = [
    "Run",
    "overview_picture",
    "read_run",
    "write_conversion",
    "write_costs",
    "write_diagnosis",
    "write_figures",
    "write_recording",
    "write_report",
    "write_scores",
]
