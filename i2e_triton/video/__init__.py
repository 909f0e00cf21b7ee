"""Convert the frames of a video or a camera to events, in constant memory.

Reading needs PyAV: ``pip install 'i2e-triton[video]'``. The events are those of image-to-event conversion. They are not
a model of an event camera: see docs/recordings-and-video.md.
"""

from i2e_triton.video.convert import FrameEvents, events
from i2e_triton.video.frames import Frame, VideoReader

__all__ = ["Frame", "FrameEvents", "VideoReader", "events"]
