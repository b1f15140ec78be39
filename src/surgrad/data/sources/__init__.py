"""Data sources: each class owns the options of one kind of data set.

To add a kind of data set: write a class with the members of `surgrad.data.source.DataSource` in a file here, and enter
its data sets in `DATASETS` of `surgrad.data.datasets`. To add a data set of a kind that exists, enter its description
in `IMAGE_SETS`, `FOLDER_SETS` or `EVENT_SETS`.
"""
