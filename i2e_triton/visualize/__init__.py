"""Images of events: animated GIFs and contact sheets. Needs ``pip install 'i2e-triton[cli]'``."""
