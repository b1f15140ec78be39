"""Recordings of event cameras: published file formats, read into one kind of array.

from surgrad.data.events import read
events = read("cifar10_airplane_0.aedat")    # fields x, y, t (µs, int64) and p (1: brighter, 0: darker)

To add a format: write its parser in a file here, and add it to `FORMATS`.
"""

from surgrad.data.events.reading import FORMATS as FORMATS
from surgrad.data.events.reading import read as read
from surgrad.data.events.reading import read_frames as read_frames
from surgrad.data.events.reading import suffix as suffix
from surgrad.data.events.records import EVENT as EVENT
from surgrad.data.events.records import pack as pack
from surgrad.data.events.spoken import read_spoken as read_spoken
