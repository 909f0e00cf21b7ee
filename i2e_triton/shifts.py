"""The motion vectors of the microsaccade (Ma et al., AAAI 2026).

A timestep is the difference of two shifted copies of the image: ``D = V(y + dy1, x + dx1) - V(y + dy0, x + dx0)``.
Its motion vector is ``(dy0, dx0, dy1, dx1)`` in pixels; a microsaccade is a sequence of motion vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from operator import index
from typing import Any

import torch
from torch import Tensor

from i2e_triton.checks import check_seed, check_timesteps

Order = str | int | Sequence[int]

# The 3x3 neighbourhood is numbered 1..9 in reading order, and 5 is the pixel itself; (p, q) is V(q) - V(p).
# The first pair of a group is canonical. Random selection draws from all pairs of a group.
_GROUPS: tuple[tuple[tuple[int, int], ...], ...] = (
    ((5, 6), (1, 2), (2, 3), (4, 5), (7, 8), (8, 9)),  # a, length 1: alpha
    ((5, 2), (4, 1), (6, 3), (7, 4), (8, 5), (9, 6)),  # b, length 1: alpha
    ((5, 3), (4, 2), (7, 5), (8, 6)),  # c, length sqrt 2: beta
    ((5, 1), (6, 2), (8, 4), (9, 5)),  # d, length sqrt 2: beta
    ((9, 4), (6, 1)),  # e, length sqrt 5: gamma
    ((4, 3), (7, 6)),  # f, length sqrt 5: gamma
    ((3, 8), (2, 7)),  # g, length sqrt 5: gamma
    ((8, 1), (9, 2)),  # h, length sqrt 5: gamma
)

#: The six orders of the paper's table 5, as group numbers. Their official numbers are 0 to 5, in this order.
ORDERS: dict[str, tuple[int, ...]] = {
    "alpha-beta-gamma": (0, 1, 2, 3, 4, 5, 6, 7),
    "alpha-gamma-beta": (0, 1, 4, 5, 6, 7, 2, 3),
    "beta-alpha-gamma": (2, 3, 0, 1, 4, 5, 6, 7),
    "beta-gamma-alpha": (2, 3, 4, 5, 6, 7, 0, 1),
    "gamma-alpha-beta": (4, 5, 6, 7, 0, 1, 2, 3),
    "gamma-beta-alpha": (4, 5, 6, 7, 2, 3, 0, 1),
}
DEFAULT_ORDER = "gamma-alpha-beta"

_GREEK = str.maketrans({"α": "alpha-", "β": "beta-", "γ": "gamma-"})
_INT64_MAX = 2**63 - 1
# A multiple of the size of every group (6, 4 and 2), so that one draw below 12 is uniform over each group.
_DRAWS = 12


def canonical_shifts(
    order: Order = DEFAULT_ORDER, timesteps: int = 8, *, device: torch.device | str | None = None
) -> Tensor:
    """Return the motion vectors that the paper uses for evaluation: the first pair of each group.

    Args:
        order: a name from the paper's table 5 (``"gamma-alpha-beta"`` or ``"γαβ"``), its official number 0 to 5, or
            the groups as distinct numbers 0 to 7 (``(4, 5, 6, 7, 0, 1, 2, 3)``).
        timesteps: number of timesteps T, 1 to 8. The first T groups of the order are used (paper, figure 5).
        device: device of the result.

    Returns:
        int32 tensor ``[timesteps, 4]`` of ``(dy0, dx0, dy1, dx1)`` in pixels.

    Raises:
        TypeError: if ``timesteps`` is not an integer, or the order has the wrong type.
        ValueError: if the order is unknown or has fewer than ``timesteps`` groups, or ``timesteps`` is not in 1..8.

    Example:
        >>> i2e_triton.canonical_shifts("alpha-beta-gamma", timesteps=2).tolist()  # one pixel to the right, one up
        [[0, 0, 0, 1], [0, 0, -1, 0]]
    """
    return candidate_shifts(order, timesteps, device=device)[0]


def row_shifts(
    seed: int,
    rows: int | Iterable[int] | Tensor,
    *,
    order: Order = DEFAULT_ORDER,
    timesteps: int = 8,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw one motion vector of each group for each row of a data set, reproducibly.

    The vectors of a row depend only on the seed, the row number and the groups. They do not depend on the batch, the
    worker, the device or the version of PyTorch. They are uniform over the vectors of each group. The random numbers
    come from SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). Number ``row`` of the stream of ``seed`` is the seed of
    the row's own stream, in which each group has a fixed position.

    Args:
        seed: 0 to 2^64 - 1.
        rows: row numbers: one int, several ints, or an integer tensor ``[B]``.
        order: see :func:`canonical_shifts`. The order does not change the vector that is drawn for a group.
        timesteps: see :func:`canonical_shifts`.
        device: device of the result. Default: the device of ``rows`` if it is a tensor, otherwise the CPU.

    Returns:
        int32 tensor ``[B, timesteps, 4]``, or ``[timesteps, 4]`` for one row, of ``(dy0, dx0, dy1, dx1)`` in pixels.

    Raises:
        TypeError: if the seed, a row number or ``timesteps`` is not an integer.
        ValueError: if the seed, the order or ``timesteps`` is out of range, or ``rows`` has more than one dimension.
    """
    numbers = row_numbers(rows, device)
    groups = copied_to(torch.tensor(group_numbers(order, timesteps), device="cpu"), numbers.device)
    candidates = copied_to(candidate_shifts(order, timesteps, device="cpu"), numbers.device)
    # A scalar on the CPU: GPU operations accept it without a copy.
    streams = splitmix64(torch.tensor(signed(check_seed(seed)), device="cpu"), numbers)
    # The remainder of a 63-bit number divided by 12 is uniform up to one part in 10^18.
    draw = (splitmix64(streams[..., None], groups) & _INT64_MAX) % _DRAWS
    return candidates[draw, torch.arange(timesteps, device=draw.device)]


def splitmix64(seeds: Tensor, positions: Tensor) -> Tensor:
    """Return the SplitMix64 numbers at ``positions``, from 0, for ``seeds``. The int64 have the bits of the uint64."""
    number = seeds + (positions + 1) * signed(0x9E3779B97F4A7C15)
    number = (number ^ _shifted_right(number, 30)) * signed(0xBF58476D1CE4E5B9)
    number = (number ^ _shifted_right(number, 27)) * signed(0x94D049BB133111EB)
    return number ^ _shifted_right(number, 31)


def signed(number: int) -> int:
    """Return the int64 that has the same bits as a uint64."""
    return number - 2**64 if number > _INT64_MAX else number


def _shifted_right(number: Tensor, bits: int) -> Tensor:
    """Return int64 shifted to the right as if they were uint64, with zeros from the left."""
    return (number >> bits) & (2 ** (64 - bits) - 1)


def row_numbers(rows: int | Iterable[int] | Tensor, device: torch.device | str | None) -> Tensor:
    """Return row numbers as an int64 tensor of 0 or 1 dimensions on a device. Default: that of ``rows``, or the CPU."""
    if not isinstance(rows, Tensor):
        try:
            numbers = [index(row) for row in rows] if isinstance(rows, Iterable) else index(rows)
        except TypeError as error:
            raise TypeError(f"rows must be an int, several ints or an integer tensor, got {rows!r}") from error
        return torch.tensor(numbers, dtype=torch.int64, device=device or "cpu")
    if rows.is_floating_point() or rows.is_complex() or rows.dtype == torch.bool:
        raise TypeError(f"rows must be integers, got {rows.dtype}; convert them with .long()")
    if rows.dim() > 1:
        raise ValueError(f"rows must be one number or a tensor [B], got shape {list(rows.shape)}")
    return rows.to(device=device, dtype=torch.int64)


def copied_to(table: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to a device. For a GPU, use pinned memory, so that the host does not wait."""
    return table.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else table.to(device)


def candidate_shifts(
    order: Order = DEFAULT_ORDER, timesteps: int = 8, *, device: torch.device | str | None = None
) -> Tensor:
    """Return the vectors that random selection draws from, int32 ``[12, timesteps, 4]``.

    All vectors of a group occur equally often, and the first is the canonical one. Arguments and errors are those of
    :func:`canonical_shifts`.
    """
    groups = group_numbers(order, timesteps)
    rows = [[_vector(*_GROUPS[group][i % len(_GROUPS[group])]) for group in groups] for i in range(_DRAWS)]
    return torch.tensor(rows, dtype=torch.int32, device=device)


def complete_order(order: Order) -> tuple[int, ...]:
    """Return all 8 group numbers: those of ``order``, followed by those that it omits."""
    groups = _resolve(order)
    return groups + tuple(group for group in range(len(_GROUPS)) if group not in groups)


def convolution_weight(shifts: Tensor) -> Tensor:
    """Return motion vectors as the kernels of the paper's convolution: +1 at the end of a vector and -1 at its start.

    Args:
        shifts: integer tensor ``[T, 4]`` on the CPU.

    Returns:
        float32 tensor ``[T, 1, 2r + 1, 2r + 1]``; ``r`` is the largest shift in pixels, at least 1.
    """
    reach = max(1, int(shifts.long().abs().max())) if shifts.numel() else 1
    weight = torch.zeros(shifts.shape[0], 1, 2 * reach + 1, 2 * reach + 1, dtype=torch.float32, device="cpu")
    for kernel, (dy0, dx0, dy1, dx1) in zip(weight[:, 0], shifts.tolist()):
        kernel[reach + dy1, reach + dx1] += 1
        kernel[reach + dy0, reach + dx0] -= 1
    return weight


def order_of_weight(weight: Tensor) -> tuple[int, ...]:
    """Return the group number of each kernel of a convolution: the inverse of :func:`convolution_weight`.

    All pairs of a group are accepted. They have the same displacement, which identifies the group.

    Args:
        weight: tensor ``[T, 1, 3, 3]`` with one +1 and one -1 per timestep.

    Raises:
        ValueError: if a kernel is not a motion vector of the paper, or a group occurs twice.
    """
    flat = weight.detach().flatten(1).cpu()
    ends, starts = flat == 1, flat == -1
    if not bool((ends.sum(1) == 1).all() and (starts.sum(1) == 1).all() and ((flat != 0).sum(1) == 2).all()):
        raise ValueError("weight must have one +1, one -1 and zeros for each timestep")
    cells = zip(starts.int().argmax(1).tolist(), ends.int().argmax(1).tolist())
    known = {_displacement(pairs[0]): group for group, pairs in enumerate(_GROUPS)}
    groups = tuple(known.get(_displacement((start + 1, end + 1)), -1) for start, end in cells)
    if -1 in groups or len(set(groups)) != len(groups):
        raise ValueError(
            f"weight must have one vector of each of the paper's groups, got groups {groups} (-1: unknown)"
        )
    return groups


def group_numbers(order: Order, timesteps: int) -> tuple[int, ...]:
    """Return the numbers of the first ``timesteps`` groups of an order."""
    timesteps = check_timesteps(timesteps)
    groups = _resolve(order)
    if len(groups) < timesteps:
        raise ValueError(f"order {groups} has {len(groups)} groups, too few for {timesteps} timesteps")
    return groups[:timesteps]


def _resolve(order: Any) -> tuple[int, ...]:
    """Return the group numbers of an order, which is a name, an official number or a sequence of group numbers."""
    if isinstance(order, (str, Integral)):
        if isinstance(order, str):
            name = order.translate(_GREEK).strip("-").lower()
        else:
            name = dict(enumerate(ORDERS)).get(index(order), "")
        if name not in ORDERS or isinstance(order, bool):
            raise ValueError(f"order must be one of {', '.join(ORDERS)}, or 0 to {len(ORDERS) - 1}; got {order!r}")
        return ORDERS[name]
    try:
        groups = tuple(index(group) for group in order)
    except TypeError as error:
        raise TypeError(f"order must be a name, a number or a sequence of group numbers; got {order!r}") from error
    if len(set(groups)) != len(groups) or not set(groups) <= set(range(len(_GROUPS))):
        raise ValueError(f"order must be distinct group numbers 0 to {len(_GROUPS) - 1}, got {groups}")
    return groups


def _vector(start: int, end: int) -> tuple[int, int, int, int]:
    (y0, x0), (y1, x1) = divmod(start - 1, 3), divmod(end - 1, 3)
    return y0 - 1, x0 - 1, y1 - 1, x1 - 1


def _displacement(pair: tuple[int, int]) -> tuple[int, int]:
    y0, x0, y1, x1 = _vector(*pair)
    return y1 - y0, x1 - x0
