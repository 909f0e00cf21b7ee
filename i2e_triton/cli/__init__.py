"""The command line ``i2e``, one module per command. Needs ``pip install 'i2e-triton[cli]'``.

A command imports its dependencies when it runs, so that ``i2e --help`` is fast and needs only the ``cli`` extra.
"""
