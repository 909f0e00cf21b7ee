"""Lossless formats of events: records and npz files of the official data sets, and event lists as Tonic stores them.

Needs NumPy and h5py: ``pip install 'i2e-triton[data]'``.
"""

from i2e_triton.formats.event_files import load_event_list, save_event_list
from i2e_triton.formats.event_list import EVENT_DTYPE, from_event_list, to_event_list
from i2e_triton.formats.npy import RecordError
from i2e_triton.formats.npz import load_npz, save_npz
from i2e_triton.formats.record import (
    BITS,
    check_bits,
    decode_packed,
    decode_record,
    encode_record,
    encode_records,
    record_shape,
)

__all__ = [
    "BITS",
    "EVENT_DTYPE",
    "RecordError",
    "check_bits",
    "decode_packed",
    "decode_record",
    "encode_record",
    "encode_records",
    "from_event_list",
    "load_event_list",
    "load_npz",
    "record_shape",
    "save_event_list",
    "save_npz",
    "to_event_list",
]
