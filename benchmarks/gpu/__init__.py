"""``make gpu``: checks and measurements on a GPU within a time budget. See :mod:`benchmarks.gpu.__main__`."""
