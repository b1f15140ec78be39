"""Sweeps: recipes × seeds, trained as a queue that can be stopped and resumed, with one table of the results."""

from surgrad.sweep.jobs import Entry as Entry
from surgrad.sweep.jobs import Job as Job
from surgrad.sweep.jobs import entries as entries
from surgrad.sweep.jobs import jobs_of as jobs_of
from surgrad.sweep.running import Share as Share
from surgrad.sweep.running import train_all as train_all
from surgrad.sweep.table import Line as Line
from surgrad.sweep.table import outcome as outcome
from surgrad.sweep.table import table_of as table_of
from surgrad.sweep.table import write_table as write_table
