"""SpikingJelly: an encoder, a data set with the interface of ``NeuromorphicDatasetFolder``, and npz files.

Frames have SpikingJelly's channels: channel ``p``, so ``frames == events.flip(1)`` for dense events. Integrate event
lists with :func:`integrate_events`. SpikingJelly's own functions return the same frames only in these cases:

* ``integrate_events_by_fixed_duration(events, timestep_us - 1, H, W)``, if the first and the last timestep have events
  and there are fewer than ``timestep_us`` timesteps.
* ``integrate_events_segment_to_frame``, for the events of one timestep.

``integrate_events_by_fixed_frames_number(events, "time", 8, H, W)`` raises an IndexError for every list of 8 timesteps:
it leaves the last timestep out of its 8 intervals, so at least one interval is empty.

Needs SpikingJelly: ``pip install 'i2e-triton[spikingjelly]'``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from i2e_triton.checks import check_integer
from i2e_triton.datasets.folder import UNLABELLED, label_folders
from i2e_triton.formats import to_event_list
from i2e_triton.formats.dense import dense_array
from i2e_triton.formats.event_list import TIMESTEP_US
from i2e_triton.install_hints import needs_extra
from i2e_triton.integrations.adapted import AdaptedDataset
from i2e_triton.io.atomic import write_whole
from i2e_triton.module import I2E
from i2e_triton.shifts import Order

with needs_extra(__name__, "spikingjelly"):
    from spikingjelly.activation_based.encoding import StatelessEncoder


class I2EEncoder(I2E, StatelessEncoder):  # type: ignore[misc]
    """The encoder from images ``[B, C, H, W]`` to events ``[T, B, 2, H, W]``: :class:`i2e_triton.I2E` for SpikingJelly.

    In both step modes it returns all timesteps, because they depend on the image alone. A network in step mode "m"
    takes them at once, so the encoder can be its first layer. A network in step mode "s" takes them one at a time::

        for x in encoder(images):
            output = net(x)

    Args:
        ratio: event threshold; see :class:`i2e_triton.I2E`.
        order: order of the timesteps; see :class:`i2e_triton.I2E`.
        step_mode: "s" or "m". Default: "s", as for all layers of SpikingJelly.
        options: the other arguments of :class:`i2e_triton.I2E`.
    """

    def __init__(
        self, ratio: float = 0.12, order: Order | None = None, *, step_mode: str = "s", **options: Any
    ) -> None:
        super().__init__(ratio, order, **options)
        self.step_mode = step_mode


class NeuromorphicDataset(AdaptedDataset):
    """Events or frames with the arguments of SpikingJelly's ``NeuromorphicDatasetFolder``.

    A row is ``(events, label)``. For ``data_type="event"``, events are a dict of the arrays t, x, y and p. For
    ``data_type="frame"``, they are a float32 array ``[N, 2, H, W]`` of event counts. No files are written: frames are
    integrated when a row is read.

    Args:
        dataset: one of :mod:`i2e_triton.datasets` with random access, with dense events in the layout ``"TCHW"``.
        data_type: ``"event"`` or ``"frame"``.
        frames_number: number of frames. They divide the time of all timesteps evenly: T frames are the timesteps.
        split_by: only ``"time"`` is supported.
        duration: duration of a frame in microseconds. Pass either this or ``frames_number`` for frames.
        timestep_us: duration of a timestep in microseconds. Default: 1000.
        transform: function that is applied to the events of each row.
        target_transform: function that is applied to each label.
    """

    def __init__(
        self,
        dataset: Dataset[tuple[Any, Any]],
        data_type: str = "event",
        frames_number: int | None = None,
        split_by: str = "time",
        duration: int | None = None,
        *,
        timestep_us: int = TIMESTEP_US,
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(dataset, timestep_us=timestep_us, transform=transform, target_transform=target_transform)
        if data_type not in ("event", "frame"):
            raise ValueError(f'data_type must be "event" or "frame", got {data_type!r}')
        if split_by != "time":
            raise ValueError(f'split_by must be "time", got {split_by!r}')
        if data_type == "frame":
            _check_frames(frames_number, duration)
        self.data_type = data_type
        self.frames_number = frames_number
        self.duration = duration

    def get_H_W(self) -> tuple[int, int]:  # noqa: N802
        """Return height and width of the events."""
        return self.size

    def adapt(self, events: Tensor) -> dict[str, np.ndarray] | np.ndarray:
        """Return dense events as a dict of arrays, or as frames."""
        listed = to_event_list(events, self.timestep_us)
        if self.data_type == "event":
            return _columns(listed)
        height, width = events.shape[-2:]
        end_time = len(events) * self.timestep_us
        return integrate_events(listed, height, width, self.frames_number, self.duration, end_time)


def integrate_events(
    events: Mapping[str, np.ndarray] | np.ndarray,
    H: int,  # noqa: N803
    W: int,  # noqa: N803
    frames_number: int | None = None,
    duration: int | None = None,
    end_time: int = 8 * TIMESTEP_US,
) -> np.ndarray:
    """Return frames of an event list. Frames without events, also the first and the last ones, are zeros.

    It can be the ``custom_integrate_function`` of a ``NeuromorphicDatasetFolder``; then it returns 8 frames of 1000
    microseconds. Bind other arguments with ``functools.partial``, and pass ``custom_integrated_frames_dir_name`` too.

    Args:
        events: a dict with the arrays t, x, y and p, or an event list with these fields.
        H: height of a frame in pixels.
        W: width of a frame in pixels.
        frames_number: number of frames, which divide the time from 0 to ``end_time`` evenly. Default: 8.
        duration: duration of a frame in microseconds. Pass either this or ``frames_number``.
        end_time: end of the last timestep in microseconds. Default: 8000.

    Returns:
        float32 array ``[N, 2, H, W]`` of event counts. The channel is ``p``: 0 is OFF, 1 is ON.

    Raises:
        ValueError: if an event is outside of the frames, or both ``frames_number`` and ``duration`` are passed.
    """
    if frames_number is None and duration is None:
        frames_number = 8
    _check_frames(frames_number, duration)
    t, x, y, p = (np.asarray(events[name]).astype(np.int64) for name in "txyp")
    for name, values, limit in (("t", t, end_time), ("x", x, W), ("y", y, H), ("p", p, 2)):
        if len(values) and not 0 <= values.min() <= values.max() < limit:
            raise ValueError(f"{name} must be 0 to {limit - 1}, got {values.min()} to {values.max()}")
    if duration is not None:
        frame, count = t // duration, -(-end_time // duration)
    else:
        assert frames_number is not None
        frame, count = t * frames_number // end_time, frames_number
    position = ((frame * 2 + p) * H + y) * W + x
    return np.bincount(position, minlength=count * 2 * H * W).reshape(count, 2, H, W).astype(np.float32)


def export_npz(
    dataset: Dataset[tuple[Any, Any]],
    folder: str | os.PathLike[str],
    data_type: str = "event",
    timestep_us: int = TIMESTEP_US,
) -> None:
    """Write a data set as npz files in class folders, ``<folder>/<class>/<row>.npz``.

    SpikingJelly's ``NeuromorphicDatasetFolder(root, train=True)`` reads events from ``root/events_np/train``.

    Args:
        dataset: one of :mod:`i2e_triton.datasets`, with dense events in the layout ``"TCHW"``.
        folder: where the class folders are created. They have the names of the classes if these are WordNet ids, and
            otherwise the label numbers, because SpikingJelly numbers the folders in sorted order.
        data_type: ``"event"`` for the arrays t, x, y and p, or ``"frame"`` for the array frames ``[T, 2, H, W]``, which
            is ``events.flip(1)``.
        timestep_us: duration of a timestep in microseconds. Default: 1000.
    """
    if data_type not in ("event", "frame"):
        raise ValueError(f'data_type must be "event" or "frame", got {data_type!r}')
    classes: list[str] | None = dataset.classes  # type: ignore[attr-defined]
    folders = None if classes is None else label_folders(classes)
    row = 0
    for batch in DataLoader(dataset, batch_size=256, collate_fn=list):  # decompresses a row group once per batch
        for events, label in batch:
            name = UNLABELLED if label < 0 else f"{label:05d}" if folders is None else folders[label]
            path = Path(folder) / name / f"{row:09d}.npz"
            if data_type == "event":
                arrays = _columns(to_event_list(events, timestep_us))
            else:
                arrays = {"frames": dense_array(events)[:, ::-1]}
            with write_whole(path, sync=False) as file:
                np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
            row += 1


def _check_frames(frames_number: int | None, duration: int | None) -> None:
    if (frames_number is None) == (duration is None):
        raise ValueError(f"pass either frames_number or duration, got {frames_number} and {duration}")
    name, value = ("duration", duration) if frames_number is None else ("frames_number", frames_number)
    check_integer(name, value, 1)


def _columns(events: np.ndarray) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(events[name]) for name in "txyp"}
