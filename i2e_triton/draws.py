"""Random draws: motion vectors, and the seeds and counters of the modules that draw.

A draw depends only on a seed, a call number and the positions in the batch. The same ones give the same integers on
every device. The seed and the call number come from one of these:

* ``generator``, if one is passed: both are drawn from it, so that every call draws new values. A CPU generator gives
  the same result on any device, but a CUDA graph repeats its values in every replay.
* ``random_state`` of the module, if it has a ``seed``. Each call adds 1 to the call number on the device: nothing waits
  for the device, and replays of a CUDA graph draw new values. ``state_dict`` contains both numbers, so that a resumed
  run draws the same values as an uninterrupted one. Only ``manual_seed`` of the module restarts the call number. The
  ranks of a distributed run draw different values although they have the same seed, and so do the workers and the
  epochs of a DataLoader. Workers have copies of the module; to resume a run that draws in workers, also restore
  PyTorch's default generator, from which the workers get their seeds.
* PyTorch's default generator of the device, otherwise. ``torch.manual_seed`` acts on it, and DataLoader workers have
  different ones. As for dropout, ranks draw different values if they call ``torch.manual_seed`` with different seeds.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.utils.data import get_worker_info

from i2e_triton.checks import check_integer, check_seed
from i2e_triton.ops import draw as draw  # registers the operators
from i2e_triton.shifts import DEFAULT_ORDER, Order, copied_to, group_numbers, signed

_INT64_MAX = 2**63 - 1
_GOLDEN = 0x9E3779B97F4A7C15


class Source(NamedTuple):
    """Where an operator of ``ops/draw.py`` takes its random numbers from: the first arguments of all of them."""

    state: Tensor
    rows: Tensor | None
    seed_offset: int


def random_shifts(
    batch: int | None = None,
    generator: torch.Generator | None = None,
    *,
    order: Order = DEFAULT_ORDER,
    timesteps: int = 8,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw one motion vector of each group uniformly, as in the paper's random selection.

    Args:
        batch: number of images to draw for. None: draw once for a whole batch, as the official code does.
        generator: generator from which the seed of the draw is drawn, on the CPU or on ``device``. Default: PyTorch's
            default generator of ``device``.
        order: see :func:`canonical_shifts`.
        timesteps: see :func:`canonical_shifts`.
        device: device of the result. Default: that of the generator, or the default device.

    Returns:
        int32 tensor ``[timesteps, 4]``, or ``[batch, timesteps, 4]``, of ``(dy0, dx0, dy1, dx1)`` in pixels.

    Raises:
        TypeError: if ``timesteps`` or ``batch`` is not an integer.
        ValueError: if the order is unknown, ``timesteps`` is not in 1..8, ``batch`` is negative, or the generator is on
            another GPU.

    Example:
        >>> images = torch.rand(16, 3, 128, 128)
        >>> shifts = i2e_triton.random_shifts(batch=len(images))
        >>> i2e_triton.convert(images, ratio=0.07, shifts=shifts).shape
        torch.Size([8, 16, 2, 128, 128])
    """
    if batch is not None:
        batch = check_integer("batch", batch, 0)
    groups = group_numbers(order, timesteps)
    return draw_shifts(source_of(device if device is None else torch.device(device), generator), batch, groups)


def draw_shifts(source: Source, batch: int | None, groups: tuple[int, ...]) -> Tensor:
    """Draw one motion vector of each of the groups: ``[T, 4]``, or ``[batch, T, 4]``."""
    shifts = torch.ops.i2e_triton.draw_shifts.default(*source, 1 if batch is None else batch, groups)
    return shifts[0] if batch is None else shifts


class SeededModule(nn.Module):
    """Base class of modules that draw random numbers, from their own ``random_state`` if they have a seed.

    Args:
        seed: 0 to 2^64 - 1. None: draw from PyTorch's default generator.

    Raises:
        TypeError: if the seed is not an integer.
        ValueError: if the seed is out of range.
    """

    #: The seed and the call number, int64 ``[2]``; None without a seed.
    random_state: Tensor | None

    def __init__(self, seed: int | None = None):
        super().__init__()
        self.register_buffer("random_state", None)
        self.manual_seed(seed)

    def manual_seed(self, seed: int | None) -> None:
        """Set the seed and restart the call number at 0."""
        old = self.random_state
        if seed is None:
            self.random_state = None
        else:
            device = default_device() if old is None else old.device
            self.random_state = torch.tensor([signed(check_seed(seed)), 0], device=device)

    def source(self, device: torch.device, generator: torch.Generator | None = None) -> Source:
        """Return what a draw for a device uses. The state moves to that device if it is on another one."""
        state = self.random_state
        if generator is not None or state is None:
            return source_of(device, generator)
        if state.device != device:
            self.random_state = state = state.to(device)
        return Source(state, None, _seed_offset())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled module. Its state is its own: spawned DataLoader workers would share the tensor."""
        super().__setstate__(state)
        if self.random_state is not None:
            self.random_state = self.random_state.clone()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Load a state with or without ``random_state``. Without, the module keeps its own."""
        key = prefix + "random_state"
        if key not in state_dict and self.random_state is not None:
            state_dict = {**state_dict, key: self.random_state}
        elif key in state_dict and self.random_state is None:
            self.random_state = torch.empty_like(state_dict[key], device=default_device())
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def source_of(device: torch.device | None, generator: torch.Generator | None = None) -> Source:
    """Return a state for one draw, drawn from a generator or from the default generator of the device.

    Without a device, the state is on the device of the generator, or on the default device.

    Raises:
        TypeError: if ``generator`` is not a generator.
        ValueError: if the generator is on another GPU.
    """
    if generator is None:
        return Source(torch.randint(-(2**63), _INT64_MAX, (2,), device=device), None, 0)
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, got {generator!r}")
    where = generator.device
    stays = device is None or (device.type == where.type and device.index in (None, where.index))
    if not stays and where.type != "cpu":
        raise ValueError(f"generator must be on the CPU or on the device of the draw, {device}, got {where}")
    state = torch.randint(-(2**63), _INT64_MAX, (2,), generator=generator, device=where)
    return Source(state if device is None or stays else copied_to(state, device), None, 0)


def source_of_rows(seed: int, number: int, rows: Tensor) -> Source:
    """Return what a draw for rows of a data set uses; ``number`` is the call number, 0 to 2^48 - 1."""
    state = copied_to(torch.tensor([signed(check_seed(seed)), number], device="cpu"), rows.device)
    return Source(state, rows, 0)


def default_device() -> torch.device:
    """Return the default device. In PyTorch 2.6, ``torch.get_default_device`` ignores ``with torch.device(...)``."""
    return torch.empty(0).device


def _seed_offset() -> int:
    """Return what to add to a seed in this process, so that ranks and DataLoader workers draw different values."""
    in_group = distributed.is_available() and distributed.is_initialized()
    if torch.compiler.is_compiling() or (worker := get_worker_info()) is None:  # torch.compile cannot trace it
        number = distributed.get_rank() if in_group else 0
    else:
        # Workers have other seeds in every epoch. Without a copy of the process group, the environment has the rank.
        rank = distributed.get_rank() if in_group else int(os.environ.get("RANK", 0))
        number = (worker.seed << 20) + rank + 1
    return signed(number * _GOLDEN % 2**64)
