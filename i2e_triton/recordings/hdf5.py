"""Read HDF5 recordings of Prophesee: the dataset ``/CD/events``, a packet at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from i2e_triton.formats import RecordError
from i2e_triton.formats.event_list import check_fields, checked_event_list
from i2e_triton.recordings.errors import RecordingError

_EVENTS_PER_PACKET = 2**16
_LARGEST_CHUNK = 2**22  # events; HDF5 decompresses a whole chunk, and a damaged file can state any size
_ECF = 36_559
_REMEDY = "Install its plugin and set HDF5_PLUGIN_PATH to the folder of the plugin"


def stated_size(path: Path) -> tuple[int, int] | None:
    """Return the height and width in the attribute ``geometry``, or None if the file does not state them.

    Raises:
        RecordingError: if the file is damaged, has no ``/CD/events``, or needs a filter that is not installed.
    """
    with _events(path) as dataset:
        geometry = dataset.file.attrs.get("geometry", "")
    text = geometry.decode(errors="replace") if isinstance(geometry, bytes) else str(geometry)
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    return (int(found[2]), int(found[1])) if found else None


def packets(path: Path) -> Iterator[np.ndarray]:
    """Yield the events of a file in event lists of whole chunks, about 65 thousand events each.

    Raises:
        RecordingError: as :func:`stated_size`, or if an event is not valid. The message names the event.
    """
    with _events(path) as dataset:
        chunk = dataset.chunks[0] if dataset.chunks else 1
        step = chunk * max(1, _EVENTS_PER_PACKET // chunk)
        for start in range(0, len(dataset), step):
            try:
                events = dataset[start : start + step]
            except OSError as error:
                raise RecordError(f"damaged after {start:,} events: {error}") from error
            yield checked_event_list(events, first=start)


@contextmanager
def _events(path: Path) -> Iterator[Any]:
    """Open the dataset of the events, after checking that it can be read. Errors name the file."""
    try:
        with h5py.File(path, "r") as file:
            dataset = _dataset(file)
            check_fields(dataset.dtype)
            _check_filters(dataset)
            _check_stored(dataset)
            yield dataset
    except RecordError as error:
        raise RecordingError(f"{path}: {error}") from error
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise RecordingError(f"{path}: not an HDF5 file, or damaged: {error}") from error


def _dataset(file: h5py.File) -> Any:
    """Return ``/CD/events``. It must be stored in this file: a link could point to any file of the user."""
    links = [file.get(name, getlink=True) for name in ("CD", "CD/events") if name in file]
    dataset = file["CD/events"] if [type(link) for link in links] == [h5py.HardLink] * 2 else None
    if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external or dataset.ndim != 1:
        raise RecordError(
            "not a recording of Prophesee: it must contain the events in a dataset /CD/events with the fields x, y, p "
            "and t. i2e_triton.formats.load_event_list reads event lists with /events/x"
        )
    return dataset


def _check_filters(dataset: Any) -> None:
    properties = dataset.id.get_create_plist()
    for index in range(properties.get_nfilters()):
        number = properties.get_filter(index)[0]
        if not h5py.h5z.filter_avail(number):
            name, remedy = f"HDF5 filter {number}", _REMEDY
            if number == _ECF:
                name, remedy = f"{name} (ECF of Prophesee)", f"{remedy}, or convert it with metavision_file_to_dat"
            raise RecordError(f"the events are compressed with {name}, which is not installed. {remedy}")


def _check_stored(dataset: Any) -> None:
    """Raise a RecordError unless the file stores all events. HDF5 would return zeros for a chunk that is missing."""
    if dataset.chunks is None:
        stored = dataset.id.get_storage_size() >= dataset.nbytes
    elif dataset.chunks[0] > _LARGEST_CHUNK:
        raise RecordError(f"chunks must have at most {_LARGEST_CHUNK:,} events, got {dataset.chunks[0]:,}")
    else:
        stored = dataset.id.get_num_chunks() >= -(-len(dataset) // dataset.chunks[0])
    if not stored:
        raise RecordError(f"truncated: it does not store all of its {len(dataset):,} events")
