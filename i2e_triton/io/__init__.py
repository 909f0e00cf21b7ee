"""File access that sources, data sets and the pipeline share."""
