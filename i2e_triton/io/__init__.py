"""Reading and writing of files, used by sources, data sets and the pipeline."""

#: Label of an image or of events that have none.
NO_LABEL = -1
LARGEST_LABEL = 2**31 - 1
