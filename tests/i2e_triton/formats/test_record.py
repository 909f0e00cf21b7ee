from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from i2e_triton.checks import EVENT_DTYPES
from i2e_triton.formats import (
    BITS,
    RecordError,
    check_bits,
    decode_packed,
    decode_record,
    encode_record,
    encode_records,
    record_shape,
    to_event_list,
)
from i2e_triton.formats.record import stack_packed
from i2e_triton.functional import pack, unpack
from tests.i2e_triton.formats.events import dense_events, official_events, official_record, photograph_events
from tests.samples import assert_same_events


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def loaded(record: bytes) -> np.ndarray:
    array: np.ndarray = np.load(io.BytesIO(record), allow_pickle=False)
    return array


@given(events=dense_events(timesteps=21))
def test_record_equals_the_official_format(events: Tensor) -> None:
    record = encode_record(events)
    assert record == npy(official_record(events))
    assert_same_events(official_events(loaded(record)), events)
    assert_same_events(decode_record(record), events)
    assert record_shape(record) == tuple(events.shape)


@given(events=dense_events())
def test_both_kinds_of_records_hold_the_same_events(events: Tensor) -> None:
    timesteps, packed = len(events), pack(events)
    records = {bits: encode_records(packed[None], timesteps, bits) for bits in BITS}
    assert records == {"official": [encode_record(events)], "packed": [npy(packed.numpy())]}
    for (record,) in records.values():
        assert_same_events(decode_record(record, timesteps), events)
        again, count = decode_packed(record, timesteps)
        assert count == timesteps
        assert_same_events(again, packed)
        assert record_shape(record, timesteps) == tuple(events.shape)


def test_check_bits_accepts_the_former_name_published() -> None:
    assert [check_bits(bits) for bits in ("official", "published", "packed")] == ["official", "official", "packed"]
    packed = torch.ones(1, 2, 3, 3, dtype=torch.uint8)
    assert encode_records(packed, bits="published") == encode_records(packed, bits="official")


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("timesteps", [1, 5, 8])
def test_batch_gives_one_record_per_image(bits: str, timesteps: int, generator: torch.Generator) -> None:
    packed = torch.randint(0, 1 << timesteps, (5, 2, 7, 9), dtype=torch.uint8, generator=generator)
    records = encode_records(packed, timesteps, bits)
    assert records == [record for image in packed for record in encode_records(image[None], timesteps, bits)]
    assert len(set(records)) == 5
    strided = packed.repeat_interleave(2, 3)[..., ::2].transpose(0, 1).contiguous().transpose(0, 1)
    assert not strided.is_contiguous()
    assert encode_records(strided, timesteps, bits) == records
    for record, image in zip(records, packed):
        assert_same_events(decode_record(record, timesteps), unpack(image, timesteps, torch.bool))


def test_empty_batch_gives_no_records() -> None:
    for bits in BITS:
        assert encode_records(torch.zeros(0, 2, 4, 4, dtype=torch.uint8), bits=bits) == []


@pytest.mark.parametrize("dtype", EVENT_DTYPES)
def test_every_event_dtype_gives_the_same_record_and_list(dtype: torch.dtype) -> None:
    events = photograph_events("rocket", (30, 41))
    assert encode_record(events.to(dtype)) == encode_record(events)
    assert np.array_equal(to_event_list(events.to(dtype)), to_event_list(events))


def test_more_than_8_timesteps_are_decoded_to_dense_events_only() -> None:
    events = torch.cat([photograph_events("coffee", (9, 11)), photograph_events("rocket", (9, 11))])
    record = encode_record(events)
    assert_same_events(decode_record(record), events)
    with pytest.raises(RecordError, match="has 16 timesteps, but packed events have at most 8; use decode_record"):
        decode_packed(record)


@pytest.mark.parametrize("shape", [(65535, 2, 1, 1), (1, 2, 65535, 1), (1, 2, 1, 65535)])
def test_largest_dimensions(shape: tuple[int, ...], generator: torch.Generator) -> None:
    events = torch.rand(shape, generator=generator) < 0.5
    assert_same_events(decode_record(encode_record(events)), events)
    longer = torch.zeros([length + (length == 65535) for length in shape], dtype=torch.bool)
    with pytest.raises(ValueError, match=r"can have at most 65535 timesteps, rows and columns, got .*65536"):
        encode_record(longer)


def test_decoded_events_do_not_share_memory() -> None:
    events = photograph_events("chelsea", (8, 8))
    for record in (encode_record(events), *encode_records(pack(events)[None], bits="packed")):
        writable = bytearray(record)
        dense, (packed, _) = decode_record(writable), decode_packed(writable)
        writable[:] = bytes(len(record))
        assert_same_events(dense, events)
        assert_same_events(packed.bitwise_not_().bitwise_not_(), pack(events))


def test_record_may_be_bytes_bytearray_or_memoryview() -> None:
    events = photograph_events("chelsea", (8, 8))
    record = encode_record(events)
    for same in (bytearray(record), memoryview(record), memoryview(b"before" + record + b"after")[6:-5]):
        assert_same_events(decode_record(same), events)
    for wrong in ("text", None, memoryview(record)[::2]):
        with pytest.raises(TypeError, match="record must be contiguous bytes, got"):
            decode_record(wrong)  # type: ignore[arg-type]


WRONG_EVENTS = {
    "not a tensor": (np.zeros((8, 2, 3, 3)), TypeError, "must be a tensor, got ndarray"),
    "integers": (torch.zeros(8, 2, 3, 3, dtype=torch.int32), TypeError, "uint8, bool, got torch.int32"),
    "a batch": (torch.zeros(8, 1, 2, 3, 3), ValueError, r"one image.*got shape \[8, 1, 2, 3, 3\]"),
    "one polarity": (torch.zeros(8, 1, 3, 3), ValueError, r"got shape \[8, 1, 3, 3\]"),
    "no timestep": (torch.zeros(0, 2, 3, 3), ValueError, r"got shape \[0, 2, 3, 3\]"),
    "no pixel": (torch.zeros(8, 2, 3, 0), ValueError, r"got shape \[8, 2, 3, 0\]"),
    "counts": (torch.full((8, 2, 3, 3), 2.0), ValueError, "must be 0 or 1"),
    "packed": (torch.full((8, 2, 3, 3), 3, dtype=torch.uint8), ValueError, "must be 0 or 1"),
    "NaN": (torch.full((8, 2, 3, 3), torch.nan), ValueError, "must be 0 or 1"),
}


@pytest.mark.parametrize("case", WRONG_EVENTS)
def test_invalid_dense_events_raise(case: str) -> None:
    events, error, message = WRONG_EVENTS[case]
    with pytest.raises(error, match=message):
        encode_record(events)  # type: ignore[arg-type]


ZEROS = torch.zeros(1, 2, 3, 3, dtype=torch.uint8)
WRONG_PACKED = {
    "not a tensor": ((ZEROS.numpy(),), TypeError, "packed must be a tensor, got ndarray"),
    "another dtype": ((ZEROS.int(),), ValueError, "got torch.int32"),
    "no batch": ((ZEROS[0],), ValueError, r"must be uint8 \[B, 2, H, W\], got torch.uint8 \[2, 3, 3\]"),
    "one polarity": ((ZEROS[:, :1],), ValueError, r"got torch.uint8 \[1, 1, 3, 3\]"),
    "no pixel": ((ZEROS[..., :0],), ValueError, r"got torch.uint8 \[1, 2, 3, 0\]"),
    "on another device": ((ZEROS.to("meta"),), ValueError, r"must be on the CPU, got meta; move it with .cpu\(\)"),
    "too wide": ((ZEROS.new_zeros(1, 2, 1, 65536),), ValueError, "at most 65535"),
    "no timestep": ((ZEROS, 0), ValueError, "must be 1 to 8, got 0"),
    "nine timesteps": ((ZEROS, 9), ValueError, "must be 1 to 8, got 9"),
    "half a timestep": ((ZEROS, 0.5), TypeError, "must be an int, got float 0.5"),
    "an unknown kind": ((ZEROS, 8, "dense"), ValueError, "must be official or packed, got 'dense'"),
    "an event after the last timestep": ((ZEROS + 16, 4), ValueError, "events in timestep 4, but timesteps is 4"),
}


@pytest.mark.parametrize("case", WRONG_PACKED)
def test_invalid_packed_events_raise(case: str) -> None:
    arguments, error, message = WRONG_PACKED[case]
    with pytest.raises(error, match=message):
        encode_records(*arguments)  # type: ignore[arg-type]


def npy_header_of_text(text: str, version: bytes = b"\x01\x00", length: int | None = None) -> bytes:
    size = len(text) if length is None else length
    return b"\x93NUMPY" + version + size.to_bytes(2 if version == b"\x01\x00" else 4, "little") + text.encode()


def npy_header(shape: object, descr: object = "|u1", fortran: object = False) -> bytes:
    return npy_header_of_text(f"{{'descr': {descr!r}, 'fortran_order': {fortran!r}, 'shape': {shape!r}, }}\n")


def record_of(*lengths: int, bits: int = 0) -> bytes:
    return npy(np.concatenate([np.array(lengths, "<u2").view(np.uint8), np.zeros(bits, np.uint8)]))


HOSTILE = {
    "empty": (b"", "not written by np.save"),
    "garbage": (b"no record at all", "must begin with .*, got b'no rec'"),
    "a pickle": (b"\x80\x04K\x01.", "not written by np.save"),
    "a later version": (npy_header_of_text("{}", b"\x03\x00"), r"the npy version must be .*, got \(3, 0\)"),
    "only the magic": (b"\x93NUMPY", "the npy version must be"),
    "no header length": (b"\x93NUMPY\x01\x00\x10", "must have at most 512 bytes and be complete"),
    "half a header": (npy(np.zeros(9, np.uint8))[:60], "be complete: it says 128 bytes, got 60"),
    "a header of 612 bytes": (npy_header_of_text(" " * 600, b"\x02\x00"), "must have at most 512 bytes"),
    "a header of 4 GB": (npy_header_of_text(" ", b"\x02\x00", 2**32 - 1), "must have at most 512 bytes"),
    "a header that is not a dict": (npy_header_of_text("[1, 2]"), "damaged"),
    "a header that is not Python": (npy_header_of_text("{'descr': '|u1',"), "damaged"),
    "500 nested parentheses": (npy_header_of_text("(" * 500), "damaged"),
    "500 unary operators": (npy_header_of_text("-" * 500 + "1"), "damaged"),
    "a function call": (npy_header_of_text("{'descr': '|u1', 'fortran_order': False, 'shape': (exit(),)}"), "damaged"),
    "an invalid dtype": (npy_header((9,), "|u1|u1"), "damaged"),
    "a tuple as dtype": (npy_header((9,), ("|u1",)), "damaged"),
    "objects": (npy_header((9,), "|O") + bytes(72), "Python objects"),
    "objects in a field": (npy_header((9,), [("a", "|O")]) + bytes(72), "Python objects"),
    "floats": (npy(np.zeros(9, np.float32)), r"must be uint8 .*got float32 \(9,\)"),
    "int8": (npy(np.zeros((2, 3, 3), np.int8)), "must be uint8 .*got int8"),
    "a subarray dtype": (npy_header((9,), ("|u1", (2,))) + bytes(18), "must be uint8"),
    "Fortran order": (npy_header((2, 3, 3), fortran=True) + bytes(18), "Fortran order"),
    "two dimensions": (npy(np.zeros((9, 9), np.uint8)), "with 1 or 3 dimensions"),
    "no dimension": (npy(np.zeros((), np.uint8)), "with 1 or 3 dimensions"),
    "a negative shape": (npy_header((-9,)), "damaged"),
    "10^30 bytes": (npy_header((10**30,)) + bytes(20), "has 10{30} bytes, but 20 bytes follow"),
    "one byte too few": (record_of(1, 2, 2, 2, bits=1)[:-1], r"shape \(9,\) has 9 bytes, but 8 bytes follow"),
    "one byte too many": (record_of(1, 2, 2, 2, bits=1) + b"\0", "has 9 bytes, but 10 bytes follow"),
    "a truncated packed record": (npy(np.zeros((2, 3, 3), np.uint8))[:-1], "has 18 bytes, but 17 bytes follow"),
    "no shape": (npy(np.zeros(7, np.uint8)), "7 bytes follow the header, but the shape of the events takes 8"),
    "no timestep": (record_of(0, 2, 3, 3), r"from 1 to 65535, got \[0, 2, 3, 3\]"),
    "three polarities": (record_of(8, 3, 4, 4, bits=48), r"from 1 to 65535, got \[8, 3, 4, 4\]"),
    "no row": (record_of(8, 2, 0, 4), r"from 1 to 65535, got \[8, 2, 0, 4\]"),
    "no column": (record_of(8, 2, 4, 0), r"from 1 to 65535, got \[8, 2, 4, 0\]"),
    "a length that is a bool": (
        npy_header_of_text("{'descr': '|u1', 'fortran_order': False, 'shape': (2, True, 4)}") + bytes(8),
        r"must be integers of at least 0, got \(2, True, 4\)",
    ),
    "70 TB of events": (record_of(65535, 2, 65535, 65535, bits=4), "take more than 2,147,483,648 bytes"),
    "too few bits": (record_of(8, 2, 3, 3, bits=17), r"events \[8, 2, 3, 3\] take 18 bytes, but 17 bytes follow"),
    "too many bits": (record_of(8, 2, 3, 3, bits=19), "take 18 bytes, but 19 bytes follow"),
    "bits set in the padding": (
        record_of(1, 2, 2, 1, bits=1)[:-1] + b"\x08",
        "the padding after the 4 bits of the events",
    ),
    "packed with three polarities": (npy(np.zeros((3, 3, 3), np.uint8)), r"from 1 to 65535, got \[8, 3, 3, 3\]"),
    "packed without a row": (npy(np.zeros((2, 0, 3), np.uint8)), r"from 1 to 65535, got \[8, 2, 0, 3\]"),
    "packed too wide": (npy(np.zeros((2, 1, 65536), np.uint8)), r"from 1 to 65535, got \[8, 2, 1, 65536\]"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_invalid_records_raise(case: str) -> None:
    record, message = HOSTILE[case]
    for read in (decode_record, decode_packed, record_shape):
        with pytest.raises(RecordError, match=message):
            read(record)


def test_last_bits_before_the_padding_are_events() -> None:
    events = torch.ones(1, 2, 2, 1, dtype=torch.bool)
    assert encode_record(events)[-1] == 0xF0
    assert_same_events(decode_record(encode_record(events)), events)


@pytest.mark.parametrize("timesteps", [1, 4, 7])
def test_packed_record_with_events_after_the_last_timestep_raises(timesteps: int) -> None:
    packed = np.zeros((2, 3, 3), np.uint8)
    packed[1, 2, 0] = (1 << timesteps) - 1
    assert int(decode_record(npy(packed), timesteps).sum()) == timesteps
    packed[1, 2, 0] = 1 << timesteps
    for read in (decode_record, decode_packed):
        with pytest.raises(RecordError, match=f"events in timestep {timesteps}, but {timesteps} timesteps"):
            read(npy(packed), timesteps)


def test_timesteps_argument_is_used_for_packed_records_only() -> None:
    events = photograph_events("chelsea", (6, 5))
    for timesteps in (1, 9):
        assert_same_events(decode_record(encode_record(events), timesteps), events)
    (record,) = encode_records(pack(events)[None], bits="packed")
    for timesteps in (0, 9):
        with pytest.raises(ValueError, match=f"must be 1 to 8, got {timesteps}"):
            decode_record(record, timesteps)


@given(
    events=dense_events(timesteps=9, side=5),
    bits=st.sampled_from(BITS),
    cut=st.integers(0, 200),
    changes=st.lists(st.tuples(st.integers(0, 199), st.integers(0, 255)), max_size=4),
    more=st.binary(max_size=9),
)
def test_damaged_record_returns_events_of_its_shape_or_raises_record_error(
    events: Tensor, bits: str, cut: int, changes: list[tuple[int, int]], more: bytes
) -> None:
    packable = bits == "packed" and len(events) <= 8
    record = bytearray(encode_records(pack(events)[None], len(events), bits)[0] if packable else encode_record(events))
    for position, byte in changes:
        record[position % len(record)] = byte
    damaged = bytes(record[: len(record) - cut] if cut < len(record) else record) + more
    try:
        shape = record_shape(damaged)
        dense = decode_record(damaged)
    except RecordError:
        return
    assert tuple(dense.shape) == shape
    assert dense.dtype == torch.bool
    # An accepted record equals what NumPy reads.
    array = loaded(damaged)
    expected = official_events(array) if array.ndim == 1 else unpack(torch.from_numpy(array), 8, torch.bool)
    assert_same_events(dense, expected)


@given(text=st.text("{}()[]',:0123456789|u1Ldescrfortran_ordershapeTrueFalse -+.\\\"\n#", max_size=120))
def test_any_header_text_raises_record_error_only(text: str) -> None:
    with pytest.raises(RecordError):
        decode_record(npy_header_of_text(text) + bytes(32))


@pytest.mark.parametrize("shape", [(3, 5), (4, 4), (1, 1)])
@pytest.mark.parametrize("timesteps", [1, 5, 8])
def test_encoding_one_timestep_at_a_time_gives_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, generator: torch.Generator, shape: tuple[int, int], timesteps: int
) -> None:
    packed = torch.randint(0, 1 << timesteps, (2, 2, *shape), dtype=torch.uint8, generator=generator)
    expected = encode_records(packed, timesteps)
    monkeypatch.setattr("i2e_triton.formats.record._MAX_PIXELS_AT_ONCE", 0)
    assert encode_records(packed, timesteps) == expected


@pytest.mark.parametrize("timesteps", [3, 8])
def test_packed_records_of_equal_shape_are_stacked(timesteps: int, generator: torch.Generator) -> None:
    packed = torch.randint(0, 1 << timesteps, (4, 2, 5, 7), dtype=torch.uint8, generator=generator)
    records = encode_records(packed, timesteps, bits="packed")
    stacked = stack_packed(records, timesteps)
    assert stacked is not None
    assert_same_events(stacked, packed)
    stacked[:] = 0  # the result does not share memory with the records
    assert_same_events(decode_packed(records[3], timesteps)[0], packed[3])


@pytest.mark.parametrize("case", ["official", "another shape", "truncated", "first damaged", "event after the last"])
def test_records_that_are_not_alike_are_not_stacked(case: str) -> None:
    events = torch.full((3, 2, 4, 6), 7, dtype=torch.uint8)
    records = encode_records(events, 3, bits="official" if case == "official" else "packed")
    if case == "another shape":
        records[1] = encode_records(events.mT, 3, bits="packed")[0]
    elif case == "truncated":
        records[2] = records[2][:-1]
    elif case == "first damaged":
        records[0] = b"\0" + records[0][1:]
    elif case == "event after the last":
        records[1] = records[1][:-1] + b"\x08"
    assert stack_packed(records, 3) is None
