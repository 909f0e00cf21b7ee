"""The command line ``i2e``: one module for each command. Needs ``pip install 'i2e-triton[cli]'``."""
