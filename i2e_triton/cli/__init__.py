"""The command line ``i2e``, one module per command. Needs ``pip install 'i2e-triton[cli]'``.

The modules import what a command needs when it runs, so that ``i2e --help`` is fast and needs the ``cli`` extra only.
"""
