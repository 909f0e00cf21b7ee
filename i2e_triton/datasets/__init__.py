"""Event data sets for a PyTorch ``DataLoader``.

* :class:`EventDataset` by row number, :class:`EventStream` as a stream: events that are stored in files.
* :class:`ImageEventDataset`: images that are converted when they are read.
* :class:`I2ECIFAR10` and the other official data sets, with download.

Needs NumPy, PyArrow and h5py: ``pip install 'i2e-triton[data]'``.
"""

from i2e_triton.datasets.event_dataset import EventDataset
from i2e_triton.datasets.event_stream import EventStream
from i2e_triton.datasets.hub import decode_batch
from i2e_triton.datasets.image_dataset import ImageEventDataset
from i2e_triton.datasets.official import (
    I2ECIFAR10,
    I2ECIFAR100,
    I2EMNIST,
    I2ECaltech101,
    I2ECaltech256,
    I2EFashionMNIST,
    I2EImageNet,
    I2EMiniImageNet,
    OfficialDataset,
)
from i2e_triton.formats import RecordError

__all__ = [
    "I2ECIFAR10",
    "I2ECIFAR100",
    "I2EMNIST",
    "EventDataset",
    "EventStream",
    "I2ECaltech101",
    "I2ECaltech256",
    "I2EFashionMNIST",
    "I2EImageNet",
    "I2EMiniImageNet",
    "ImageEventDataset",
    "OfficialDataset",
    "RecordError",
    "decode_batch",
]
