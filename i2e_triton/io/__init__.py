"""Reading and writing of files, used by sources, data sets and the pipeline."""
