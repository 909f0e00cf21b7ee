"""
First events
============

Convert a photograph to events and look at them. An event says that a pixel became brighter (ON) or darker (OFF) while
the image moved a little, as it does in front of an event camera or a moving eye.
"""

from skimage import data

import i2e_triton
from i2e_triton import visualize

SIZE = 224
RATIO = 0.12

# %%
# ``convert`` takes tensors of any device, NumPy arrays and PIL images. The photograph is cropped here to a square.

photograph = data.chelsea()
image = photograph[40 : 40 + SIZE, 120 : 120 + SIZE]
events = i2e_triton.convert(image, RATIO)
print(events.shape)  # [timestep, polarity, height, width]

# %%
# The values are 0 and 1. About one value in twenty is an event.

print(f"event rate {i2e_triton.event_rate(events):.1%}")

# %%
# The timesteps in a sequence: ON events are red, OFF events are blue.

visualize.save_gif("out/first_events.gif", events, beside=image, scale=2)

# %%
# The same as a picture. Beside each timestep is its motion vector: the direction in which the image moves.

visualize.contact_sheet(image, RATIO).save("out/contact_sheet.png")

# %%
# Each timestep responds to edges across its direction, so their event rates differ.

visualize.plot_rates(events)

# %%
# Eight timesteps of one bit fit into one byte. Packed events take 1/32 of the memory of float32; pack them for storage
# and transfer, and unpack them on the device that trains.

packed = i2e_triton.convert(image, RATIO, packed=True)
print(f"{events.nbytes:,} bytes dense, {packed.nbytes:,} bytes packed")
assert i2e_triton.unpack(packed).equal(events)
