"""Whole data sets of images converted to events: planned, converted, written, recorded, verified.

Needs ``pip install 'i2e-triton[data]'``.
"""
