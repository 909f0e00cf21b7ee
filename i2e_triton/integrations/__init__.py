"""Adapters for other libraries. Each module needs its library: ``pip install 'i2e-triton[tonic]'`` for ``tonic``.

* :mod:`i2e_triton.integrations.spikingjelly`: an encoder, a data set, npz files.
* :mod:`i2e_triton.integrations.tonic`: a transform from images to event lists, a data set.
* :mod:`i2e_triton.integrations.snntorch`: a function like those of ``spikegen``.

Networks of all these libraries take the dense events of :func:`i2e_triton.convert` and of
:class:`i2e_triton.datasets.EventDataset` without an adapter, in the layout of :func:`i2e_triton.layout.to_layout`.

Dense events have ON events in channel 0 and OFF events in channel 1. Event lists have ``p`` 1 for ON events. Tonic and
SpikingJelly make *frames* from event lists, in which the channel is ``p``: ``frames == events.flip(-3)``.
"""
