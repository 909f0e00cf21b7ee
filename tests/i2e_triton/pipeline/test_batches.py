from __future__ import annotations

import io
import pickle

import PIL.Image
import pytest
import torch

from i2e_triton import reference
from i2e_triton.functional import unpack
from i2e_triton.pipeline.batches import EventBatches, ImageBatches, convert_batch
from i2e_triton.pipeline.plan import ConversionConfig, Shard
from i2e_triton.shifts import candidate_shifts
from tests.i2e_triton.pipeline.builders import DAMAGED, MemorySource, png, some_images
from tests.samples import assert_same_events, noise

CPU = torch.device("cpu")


def packed_rows(source: MemorySource, config: ConversionConfig, rows: int) -> dict[int, torch.Tensor]:
    """Return the packed events of each row, converted ``rows`` rows at a time."""
    batches = EventBatches({"train": source}, config)
    shard = Shard("train", 0, 1, 0, len(source))
    events: dict[int, torch.Tensor] = {}
    for row_range in shard.row_ranges(rows):
        for numbers, packed in batches[row_range].groups:
            events.update(zip(numbers, packed))
    return events


def test_images_of_equal_shape_form_one_group(generator: torch.Generator) -> None:
    images = [*some_images(2, generator), *some_images(2, generator, (9, 14)), *some_images(1, generator)]
    source = MemorySource([png(image) for image in images])
    batch = ImageBatches({"train": source}, ConversionConfig(0.1))[next(Shard("train", 0, 1, 0, 5).row_ranges(9))]
    assert [rows for rows, _ in batch.groups] == [[0, 1, 4], [2, 3]]
    for rows, stacked in batch.groups:
        assert torch.equal(stacked, torch.stack([images[row] for row in rows]))
    assert batch.keys_and_labels == {row: (str(row), source.label(row)) for row in range(5)}


def test_damaged_image_is_skipped(generator: torch.Generator) -> None:
    source = MemorySource([png(some_images(1, generator)[0]), DAMAGED])
    batch = ImageBatches({"train": source}, ConversionConfig(0.1))[next(Shard("train", 0, 1, 0, 2).row_ranges(9))]
    assert [rows for rows, _ in batch.groups] == [[0]]
    assert [(skipped.row, skipped.key) for skipped in batch.skipped] == [(1, "1")]


@pytest.mark.parametrize("bits", ["official", "packed"])
def test_image_too_large_for_a_record_is_skipped(generator: torch.Generator, bits: str) -> None:
    sizes = (1, 65535), (1, 65536), (65536, 1)
    fits, too_wide, too_high = (png(noise((3, *size), torch.uint8, generator)) for size in sizes)
    source = MemorySource([too_wide, DAMAGED, fits, too_high])
    batch = ImageBatches({"train": source}, ConversionConfig(0.1, bits=bits))[
        next(Shard("train", 0, 1, 0, 4).row_ranges(9))
    ]
    assert [rows for rows, _ in batch.groups] == [[2]]
    assert [(skipped.row, skipped.key) for skipped in batch.skipped] == [(0, "0"), (1, "1"), (3, "3")]
    assert batch.skipped[0].reason == "too large: 1 x 65536 pixels, the sides of a record are at most 65535"


def test_npz_accepts_image_of_any_size(generator: torch.Generator) -> None:
    source = MemorySource([png(noise((3, 1, 65536), torch.uint8, generator))])
    batch = ImageBatches({"train": source}, ConversionConfig(0.1, format="npz"))[
        next(Shard("train", 0, 1, 0, 1).row_ranges(9))
    ]
    assert [rows for rows, _ in batch.groups] == [[0]]
    assert batch.skipped == []


def test_16_bit_grey_image_keeps_its_precision(generator: torch.Generator) -> None:
    grey = torch.randint(0, 65536, (8, 9), generator=generator, dtype=torch.int32)
    file = io.BytesIO()
    PIL.Image.fromarray(grey.numpy().astype("uint16")).save(file, "PNG")
    config = ConversionConfig(0.1)
    events = packed_rows(MemorySource([file.getvalue()]), config, 1)
    assert_same_events(
        unpack(events[0], 8, torch.bool),
        reference.convert(grey.float()[None, None], 0.1, candidate_shifts()[0])[:, 0].bool(),
    )


@pytest.mark.parametrize("rows", [1, 3, 20])
def test_random_vectors_do_not_depend_on_the_batch_size(generator: torch.Generator, rows: int) -> None:
    source = MemorySource([png(image) for image in some_images(8, generator)])
    config = ConversionConfig(0.1, random_shifts=True, seed=5)
    one_by_one, together = packed_rows(source, config, 1), packed_rows(source, config, rows)
    for row in range(8):
        assert_same_events(together[row], one_by_one[row])


def test_random_vectors_come_from_their_groups_and_depend_on_seed_and_row(generator: torch.Generator) -> None:
    image = some_images(1, generator, (24, 31))[0]
    source = MemorySource([png(image)] * 12)
    by_vector = reference.convert(image[None], 0.1, candidate_shifts().reshape(-1, 4)).reshape(12, 8, 2, 24, 31).bool()
    drawn = {}
    for seed in (1, 2):
        for row, packed in packed_rows(source, ConversionConfig(0.1, random_shifts=True, seed=seed), 4).items():
            events = unpack(packed, 8, torch.bool)
            assert all((by_vector[:, t] == events[t]).flatten(1).all(1).any() for t in range(8))
            drawn[seed, row] = packed.numpy().tobytes()
    assert len(set(drawn.values())) > 12


def test_converting_in_main_process_and_in_worker_agree(generator: torch.Generator) -> None:
    source = MemorySource([png(image) for image in some_images(3, generator)])
    config, row_range = ConversionConfig(0.1, order=1), next(Shard("train", 0, 1, 0, 3).row_ranges(9))
    in_main = convert_batch(ImageBatches({"train": source}, config)[row_range], config, CPU)
    in_worker = pickle.loads(pickle.dumps(EventBatches({"train": source}, config)))[row_range]
    assert in_main.groups[0][0] == in_worker.groups[0][0]
    assert_same_events(in_main.groups[0][1], in_worker.groups[0][1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_and_cpu_agree(generator: torch.Generator) -> None:
    source = MemorySource([png(image) for image in some_images(5, generator, (32, 32))])
    config, row_range = ConversionConfig(0.1, random_shifts=True), next(Shard("train", 0, 1, 0, 5).row_ranges(9))
    images = ImageBatches({"train": source}, config)[row_range].pin_memory()
    on_gpu = convert_batch(images, config, torch.device("cuda"))
    assert_same_events(on_gpu.groups[0][1], EventBatches({"train": source}, config)[row_range].groups[0][1])
