"""Read images row by row from folders, Parquet files, tars and torchvision's data sets.

Needs torchvision, Pillow and pyarrow: ``pip install 'i2e-triton[data]'``.
"""

from i2e_triton.io.geometry import RESIZE_RULES, check_resize, resize_rule
from i2e_triton.sources.opening import KINDS, find_kind, open_source, splits
from i2e_triton.sources.prepare import PreparedImages, prepare, prepare_batch
from i2e_triton.sources.presets import PRESETS, Preset
from i2e_triton.sources.source import ImageRow, Rows, Source, SourceError

__all__ = [
    "KINDS",
    "PRESETS",
    "RESIZE_RULES",
    "ImageRow",
    "PreparedImages",
    "Preset",
    "Rows",
    "Source",
    "SourceError",
    "check_resize",
    "find_kind",
    "open_source",
    "prepare",
    "prepare_batch",
    "resize_rule",
    "splits",
]
