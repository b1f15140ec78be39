"""Instruments: what the layers of a network do, read through the same histograms as the controllers' own."""

from surgrad.measure.layers import layer_rows as layer_rows
from surgrad.measure.layers import share_within as share_within
