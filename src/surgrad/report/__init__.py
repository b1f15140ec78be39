"""Pages and pictures made from run folders alone; nothing here needs torch, and matplotlib waits until it is used."""

from surgrad.report.conversion import write_conversion
from surgrad.report.diagnosis import write_diagnosis
from surgrad.report.figures import write_figures
from surgrad.report.page import write_report
from surgrad.report.picture import overview_picture
from surgrad.report.read import Run, read_run
from surgrad.report.recording import write_recording
from surgrad.report.scores import write_scores

__all__ = [
    "Run",
    "overview_picture",
    "read_run",
    "write_conversion",
    "write_diagnosis",
    "write_figures",
    "write_recording",
    "write_report",
    "write_scores",
]
