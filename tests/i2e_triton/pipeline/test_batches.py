from __future__ import annotations

import io

import PIL.Image
import pytest
import torch

from i2e_triton import reference
from i2e_triton.functional import unpack
from i2e_triton.pipeline.batches import read_batch
from i2e_triton.pipeline.plan import ConversionConfig
from i2e_triton.shifts import candidate_shifts
from tests.i2e_triton.pipeline.builders import DAMAGED, MemorySource, events_of, png, some_images
from tests.samples import assert_same_events, noise


def packed_rows(source: MemorySource, config: ConversionConfig, pixels: int = 10**6) -> dict[int, torch.Tensor]:
    """Return the packed events of each row."""
    return {row: events for rows, packed in events_of(source, config, pixels) for row, events in zip(rows, packed)}


def test_images_of_equal_shape_form_one_group(generator: torch.Generator) -> None:
    images = [*some_images(2, generator), *some_images(2, generator, (9, 14)), *some_images(1, generator)]
    source = MemorySource([png(image) for image in images])
    batch = read_batch(enumerate(source.read(0, 5)), ConversionConfig(0.1))
    assert [rows for rows, _ in batch.groups] == [[0, 1, 4], [2, 3]]
    for rows, stacked in batch.groups:
        assert torch.equal(stacked, torch.stack([images[row] for row in rows]))
    assert batch.rows == {row: (str(row), source.label(row)) for row in range(5)}


@pytest.mark.parametrize("bits", ["official", "packed"])
def test_image_too_large_for_a_record_is_skipped(generator: torch.Generator, bits: str) -> None:
    sizes = (1, 65535), (1, 65536), (65536, 1)
    fits, too_wide, too_high = (png(noise((3, *size), torch.uint8, generator)) for size in sizes)
    source = MemorySource([too_wide, DAMAGED, fits, too_high])
    batch = read_batch(enumerate(source.read(0, 4)), ConversionConfig(0.1, bits=bits))
    assert [rows for rows, _ in batch.groups] == [[2]]
    assert [(skipped.row, skipped.key) for skipped in batch.skipped] == [(0, "0"), (1, "1"), (3, "3")]
    assert batch.skipped[0].reason == "too large: 1 x 65536 pixels, the sides of a record are at most 65535"


def test_npz_accepts_image_of_any_size(generator: torch.Generator) -> None:
    source = MemorySource([png(noise((3, 1, 65536), torch.uint8, generator))])
    batch = read_batch(enumerate(source.read(0, 1)), ConversionConfig(0.1, format="npz"))
    assert [rows for rows, _ in batch.groups] == [[0]]
    assert batch.skipped == []


def test_16_bit_grey_image_keeps_its_precision(generator: torch.Generator) -> None:
    grey = torch.randint(0, 65536, (8, 9), generator=generator, dtype=torch.int32)
    file = io.BytesIO()
    PIL.Image.fromarray(grey.numpy().astype("uint16")).save(file, "PNG")
    config = ConversionConfig(0.1)
    events = packed_rows(MemorySource([file.getvalue()]), config)
    assert_same_events(
        unpack(events[0], 8, torch.bool),
        reference.convert(grey.float()[None, None], 0.1, candidate_shifts()[0])[:, 0].bool(),
    )


@pytest.mark.parametrize("pixels", [1, 400, 10**6])
def test_random_vectors_do_not_depend_on_the_batch_size(generator: torch.Generator, pixels: int) -> None:
    source = MemorySource([png(image) for image in some_images(8, generator)])
    config = ConversionConfig(0.1, random_shifts=True, seed=5)
    one_by_one, together = packed_rows(source, config, 1), packed_rows(source, config, pixels)
    for row in range(8):
        assert_same_events(together[row], one_by_one[row])


def test_random_vectors_come_from_their_groups_and_depend_on_seed_and_row(generator: torch.Generator) -> None:
    image = some_images(1, generator, (24, 31))[0]
    source = MemorySource([png(image)] * 12)
    by_vector = reference.convert(image[None], 0.1, candidate_shifts().reshape(-1, 4)).reshape(12, 8, 2, 24, 31).bool()
    drawn = {}
    for seed in (1, 2):
        for row, packed in packed_rows(source, ConversionConfig(0.1, random_shifts=True, seed=seed)).items():
            events = unpack(packed, 8, torch.bool)
            assert all((by_vector[:, t] == events[t]).flatten(1).all(1).any() for t in range(8))
            drawn[seed, row] = packed.numpy().tobytes()
    assert len(set(drawn.values())) > 12


@pytest.mark.parametrize(("size", "pixels_of_an_image"), [(None, 13 * 11), ((6, 5), 30), ((40, 30), 1200)])
def test_batch_ends_at_its_limit_of_pixels(
    generator: torch.Generator, size: tuple[int, int] | None, pixels_of_an_image: int
) -> None:
    source = MemorySource([png(image) for image in some_images(8, generator)])
    rows = enumerate(source.read(0, 8))
    sizes = []
    while (batch := read_batch(rows, ConversionConfig(0.1, size=size), 2 * pixels_of_an_image + 1)).rows:
        sizes.append(len(batch.rows))
    assert sizes == [3, 3, 2]
