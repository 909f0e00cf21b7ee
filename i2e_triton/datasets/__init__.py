"""Event data sets for a PyTorch ``DataLoader``: :class:`EventDataset` by row number, :class:`EventStream` as a stream.

Needs NumPy, PyArrow and h5py: ``pip install 'i2e-triton[data]'``.
"""

from i2e_triton.datasets.event_dataset import EventDataset
from i2e_triton.datasets.event_stream import EventStream
from i2e_triton.datasets.hub import decode_batch
from i2e_triton.formats import RecordError

__all__ = ["EventDataset", "EventStream", "RecordError", "decode_batch"]
