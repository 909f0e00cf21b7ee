"""Draw docs/events.gif, the picture of the README: a photograph from scikit-image beside its events.

Run in the root of the repository: python docs/picture.py
"""

from __future__ import annotations

from pathlib import Path

import skimage

from i2e_triton import convert, visualize
from i2e_triton.io.pictures import read_picture

SIZE = (320, 320)


def main() -> None:
    """Write the GIF file."""
    image = read_picture(Path(skimage.__file__).with_name("data") / "astronaut.png", SIZE)  # NASA, public domain
    visualize.save_gif(Path(__file__).with_name("events.gif"), convert(image, ratio=0.12), beside=image, fps=8)


if __name__ == "__main__":
    main()
