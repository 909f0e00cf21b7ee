"""Import recordings of event cameras: AEDAT4, Prophesee RAW (EVT2, EVT3), DAT and HDF5, and N-MNIST's ``.bin``.

Needs ``pip install 'i2e-triton[recordings]'``; ``.bin`` files need ``i2e-triton[tonic]``.
"""

from i2e_triton.recordings.dataset import RecordedEvents
from i2e_triton.recordings.errors import RecordingError
from i2e_triton.recordings.reading import Recording, open_recording
from i2e_triton.recordings.split import hashed_split
from i2e_triton.recordings.windows import Window, WindowRule, windows

__all__ = [
    "RecordedEvents",
    "Recording",
    "RecordingError",
    "Window",
    "WindowRule",
    "hashed_split",
    "open_recording",
    "windows",
]
