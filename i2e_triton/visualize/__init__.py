"""Draw events as animated GIFs and contact sheets. Needs ``pip install 'i2e-triton[cli]'``."""
