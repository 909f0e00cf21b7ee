"""Order of the dimensions of dense events."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from i2e_triton import I2E, convert, unpack
from i2e_triton.layout import LAYOUTS, collate_time_first, to_layout
from i2e_triton.transforms import ImageToEvents
from tests.samples import assert_same_events

SIZES = {"T": 8, "B": 3, "C": 2, "H": 5, "W": 7}


@pytest.fixture
def images(generator: torch.Generator) -> Tensor:
    return torch.rand(3, 3, 5, 7, generator=generator)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_is_a_view_with_named_dimensions(layout: str, images: Tensor) -> None:
    events = convert(images)
    view = to_layout(events, layout)
    assert view.shape == tuple(SIZES[name] for name in layout)
    assert view.data_ptr() == events.data_ptr()
    assert torch.equal(view[tuple(slice(1, None) for _ in layout)], to_layout(events[1:, 1:, 1:, 1:, 1:], layout))
    t, b, y, x = (events[:, :, 0] != events[:, :, 1]).nonzero()[0].tolist()
    place = {"T": t, "B": b, "C": 1, "H": y, "W": x}
    assert view[tuple(place[name] for name in layout)] == events[t, b, 1, y, x]


@pytest.mark.parametrize("layout", [*LAYOUTS, "TCHW", "CTHW", "CHWT"])
def test_layout_of_one_image_has_no_batch_dimension(layout: str, images: Tensor) -> None:
    events = convert(images)
    names = layout.replace("B", "")
    view = to_layout(events[:, 1], layout)
    assert view.shape == tuple(SIZES[name] for name in names)
    assert_same_events(view, to_layout(events, "B" + names)[1])


def test_wrong_layout_raises_error(images: Tensor) -> None:
    events = convert(images)
    for layout in ("NTCHW", "tbchw", "TBC"):
        with pytest.raises(
            ValueError, match=r"^layout must be TBCHW, BTCHW, BCTHW, BCHWT, or for one image TCHW, CTHW"
        ):
            to_layout(events, layout)
    with pytest.raises(ValueError, match=r"^layout CHWT needs events of 4 dimensions, got 5$"):
        to_layout(events, "CHWT")
    with pytest.raises(ValueError, match=r"^layout TBCHW needs events of 5 dimensions, got 3$"):
        to_layout(events[0, 0], "TBCHW")


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_collate_time_first(workers: int, images: Tensor) -> None:
    events = convert(images)
    dataset = TensorDataset(events.transpose(0, 1), torch.arange(3))
    batch, labels = next(iter(DataLoader(dataset, batch_size=3, collate_fn=collate_time_first, num_workers=workers)))
    assert_same_events(batch, events)
    assert labels.tolist() == [0, 1, 2]


def test_collate_time_first_leaves_packed_events_to_unpack(images: Tensor) -> None:
    packed = convert(images, packed=True)
    batch, names, more = collate_time_first([(packed[i], str(i), torch.ones(1, 1, 1, 1)) for i in range(3)])
    assert_same_events(unpack(batch), convert(images))
    assert (list(names), more.shape) == (["0", "1", "2"], (3, 1, 1, 1, 1))


@pytest.mark.parametrize("layout", [*LAYOUTS, "CHWT"])
def test_every_function_returns_the_layout(layout: str, images: Tensor) -> None:
    images = images[0] if layout == "CHWT" else images
    expected = to_layout(convert(images), layout)
    assert_same_events(convert(images, layout=layout), expected)
    assert_same_events(I2E(layout=layout).eval()(images), expected)
    assert_same_events(ImageToEvents(layout=layout)(images), expected)
    assert_same_events(unpack(convert(images, packed=True), layout=layout), expected)
    assert_same_events(torch.compile(convert, backend="aot_eager", fullgraph=True)(images, layout=layout), expected)


def test_packed_events_have_no_layout(images: Tensor) -> None:
    packed = convert(images, packed=True)
    assert_same_events(convert(images, packed=True, layout="BCHWT"), packed)
    assert_same_events(I2E(packed=True, layout="BCHWT").eval()(images), packed)


def test_out_has_the_default_layout(images: Tensor) -> None:
    out = torch.empty(8, 3, 2, 5, 7)
    view = convert(images, layout="BCHWT", out=out)
    assert view.data_ptr() == out.data_ptr()
    assert_same_events(out, convert(images))
    assert_same_events(view, to_layout(out, "BCHWT"))
    assert convert(images, out=out) is out


def test_wrong_layout_raises_error_before_the_conversion(images: Tensor) -> None:
    out = torch.full((8, 3, 2, 5, 7), -1.0)
    with pytest.raises(ValueError, match=r"^layout CTHW needs events of 4 dimensions, got 5$"):
        convert(images, layout="CTHW", out=out)
    assert bool((out == -1).all())
    for function in (I2E, ImageToEvents, lambda layout: unpack(images[0].byte()[:2], layout=layout)):
        with pytest.raises(ValueError, match=r"^layout must be TBCHW, BTCHW, BCTHW, BCHWT, or for one image"):
            function(layout="TBHWC")
