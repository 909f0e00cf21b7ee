"""The order of the dimensions of dense events: T timesteps, B images, C polarities (ON, OFF), H rows, W columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import default_collate

LAYOUTS = ("TBCHW", "BTCHW", "BCTHW", "BCHWT")
_LAYOUTS_OF_ONE_IMAGE = ("TCHW", "CTHW", "CHWT")


def check_layout(layout: Any, dimensions: int | None = None) -> None:
    """Raise a ValueError unless ``layout`` is one of :data:`LAYOUTS`, or one of these without B for one image.

    Args:
        layout: the layout.
        dimensions: number of dimensions of the events, 5 or 4; None if it is not known yet.
    """
    if layout not in (*LAYOUTS, *_LAYOUTS_OF_ONE_IMAGE):
        raise ValueError(
            f"layout must be {', '.join(LAYOUTS)}, or for one image {', '.join(_LAYOUTS_OF_ONE_IMAGE)}; got {layout!r}"
        )
    if dimensions not in (None, len(layout), len(layout.replace("B", ""))):
        raise ValueError(f"layout {layout} needs events of {len(layout)} dimensions, got {dimensions}")


def to_layout(events: Tensor, layout: str) -> Tensor:
    """Return dense events with their dimensions in another order, as a view.

    ==========  ==========================================================================================
    ``TBCHW``   this package, SpikingJelly in step mode "m", snnTorch
    ``BTCHW``   Tonic and the batches of a ``DataLoader``
    ``BCTHW``   ``torch.nn.Conv3d``
    ``BCHWT``   SLAYER and Lava
    ==========  ==========================================================================================

    Args:
        events: dense ``[T, B, 2, H, W]``, or ``[T, 2, H, W]`` of one image.
        layout: one of :data:`LAYOUTS`. For one image, B is left out: both ``"BCTHW"`` and ``"CTHW"`` return
            ``[2, T, H, W]``.

    Raises:
        ValueError: if the layout is unknown, or does not have the dimensions of ``events``.

    Example:
        >>> events = i2e_triton.convert(torch.rand(16, 3, 128, 128))
        >>> i2e_triton.layout.to_layout(events, "BCTHW").shape
        torch.Size([16, 2, 8, 128, 128])
    """
    check_layout(layout, events.dim())
    if events.dim() == 5:
        return events.permute(["TBCHW".index(name) for name in layout])
    return events.permute(["TCHW".index(name) for name in layout.replace("B", "")])


def collate_time_first(samples: Sequence[Sequence[Any]]) -> list[Any]:
    """Return a batch with the timesteps first: events ``[T, B, 2, H, W]``, and the rest as ``default_collate`` does.

    Pass it to a ``DataLoader``, whose default is ``[B, T, 2, H, W]``::

        loader = DataLoader(dataset, batch_size=128, collate_fn=collate_time_first)

    Args:
        samples: tuples ``(events, label, ...)``. Dense events are ``[T, 2, H, W]``. Packed events ``[2, H, W]`` become
            ``[B, 2, H, W]``, because :func:`i2e_triton.unpack` puts the timesteps first.
    """
    events, *rest = default_collate(list(samples))
    return [events.transpose(0, 1) if events.dim() == 5 else events, *rest]
