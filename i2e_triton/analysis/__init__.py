"""Measure event rates, entropies and sizes of event data sets, and entropies of their source images.

This needs NumPy, PyArrow and h5py, and torchvision for images: ``pip install 'i2e-triton[data]'``.
"""

from i2e_triton.analysis.entropy import entropy, image_entropies
from i2e_triton.analysis.events import ClassRate, EventStatistics, measure_events
from i2e_triton.analysis.images import ImageStatistics, measure_images
from i2e_triton.analysis.spread import Spread

__all__ = [
    "ClassRate",
    "EventStatistics",
    "ImageStatistics",
    "Spread",
    "entropy",
    "image_entropies",
    "measure_events",
    "measure_images",
]
