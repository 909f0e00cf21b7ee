"""Look at events: animations, contact sheets and plots of event rates.

The functions take dense or packed events, of one image or a batch, on any device.

Needs Pillow and NumPy (``pip install 'i2e-triton[cli]'``); ``plot_rates`` needs Matplotlib (``i2e-triton[data]``), and
``save_mp4`` needs PyAV (``i2e-triton[video]``).
"""

from i2e_triton.visualize.animation import save_gif, save_mp4, show
from i2e_triton.visualize.rates import plot_rates
from i2e_triton.visualize.sheet import contact_sheet

__all__ = ["contact_sheet", "plot_rates", "save_gif", "save_mp4", "show"]
