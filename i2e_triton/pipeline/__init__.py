"""Convert whole image data sets to event data sets: plan, convert, write, record and verify.

Needs ``pip install 'i2e-triton[data]'``.
"""
