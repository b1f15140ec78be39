"""Measures surgrad beside its peers. All of them get the allocation that surgrad's command sets for itself."""

from surgrad import process

process.keep_memory()
