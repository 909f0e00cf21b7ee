"""
Video
=====

Convert the frames of a video to events, in two ways: each frame as an image of its own, or the change since the frame
before. Neither is a model of an event camera. The video is made here: a photograph that moves.
"""

from pathlib import Path

import av
import matplotlib.pyplot as plt
import numpy as np
from skimage import data

import i2e_triton
from i2e_triton import video

FRAMES = 25
SIZE = 128
RATIO = 0.12
CLIP = Path("out/clip.mp4")

# %%
# PyAV writes the video. Any video file that FFmpeg can decode would do as well.

CLIP.parent.mkdir(exist_ok=True)
photograph = data.astronaut()
with av.open(str(CLIP), "w") as container:
    stream = container.add_stream("libx264", rate=25)
    stream.width = stream.height = SIZE
    stream.pix_fmt = "yuv420p"
    for n in range(FRAMES):
        picture = np.ascontiguousarray(photograph[2 * n :, 130 + n :][:SIZE, :SIZE])
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    container.mux(stream.encode())

# %%
# ``VideoReader`` yields frames with the times of the file, and ``events`` converts them in batches. Only one batch is
# in memory at a time, so the video may be hours long.

microsaccades = list(video.events(video.VideoReader(CLIP), RATIO))
differences = list(video.events(video.VideoReader(CLIP), RATIO, between_frames=True))
print(microsaccades[1].time_us, microsaccades[1].packed.shape)

# %%
# The events of one frame. A microsaccade finds the edges of a frame, also where nothing moves. The difference between
# frames finds what moves.

shown = len(differences) // 2
edges = i2e_triton.unpack(microsaccades[shown + 1].packed, 8)[0]
change = i2e_triton.unpack(differences[shown].packed, 1)[0]
figure, axes = plt.subplots(1, 3, figsize=(9, 3))
pictures = {
    "frame": differences[shown].image.movedim(0, -1).numpy(),
    "microsaccade, first timestep": edges[0] - edges[1],
    "difference between frames": change[0] - change[1],
}
for axis, (title, shown_picture) in zip(axes, pictures.items()):
    axis.imshow(np.asarray(shown_picture), cmap="bwr", vmin=-1, vmax=1)  # ON red, OFF blue
    axis.set_title(title)
    axis.axis("off")
figure.tight_layout()

# %%
# The number of events of each frame.

figure, axis = plt.subplots(figsize=(6, 3))
for name, found in (
    ("microsaccade", microsaccades),
    ("difference between frames", differences),
):
    times = [each.time_us / 1e6 for each in found]
    axis.plot(times, [len(each.event_list()) for each in found], label=name)
axis.set_xlabel("time in s")
axis.set_ylabel("events")
axis.legend()
figure.tight_layout()
