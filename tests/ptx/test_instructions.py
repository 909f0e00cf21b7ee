"""The instructions of the simulator give the same results as PyTorch and Python."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.ptx.instructions import parse
from tests.ptx.machine import WARP, Memory

SIGNED = {16: torch.int16, 32: torch.int32, 64: torch.int64}


def run(body: str, *arrays: np.ndarray, threads: int = WARP, shared: int = 0) -> None:
    """Run instructions on arrays. Their addresses are in ``%rd1``, ``%rd2``, ...; the thread index is in ``%r0``."""
    parameters = ",\n".join(f".param .u64 kernel_param_{i}" for i in range(len(arrays)))
    loads = "".join(f"ld.param.b64 %rd{i + 1}, [kernel_param_{i}];\n" for i in range(len(arrays)))
    registers = ".reg .pred %p<9>;\n.reg .b16 %rs<99>;\n.reg .b32 %r<99>;\n.reg .b64 %rd<99>;\n"
    source = f".entry kernel(\n{parameters}\n)\n{{\n{registers}{loads}mov.u32 %r0, %tid.x;\n{body}\nret;\n}}\n"
    # Distant addresses, so that no access reaches another array.
    addresses = [2**20 * (i + 1) for i in range(len(arrays))]
    memory = Memory({address: array.reshape(-1).view(np.uint8) for address, array in zip(addresses, arrays)})
    parse(source).run(0, threads, addresses, memory, shared)


def calculate(opcode: str, result: int, *operands: Tensor, constants: str = "") -> Tensor:
    """Return the results of an instruction for operands ``[32]``, as integers of ``result`` bits."""
    arrays = [operand.contiguous().view(SIGNED[8 * operand.element_size()]).numpy() for operand in operands]
    out = np.zeros(WARP, dtype=f"int{result}")
    kinds = {16: "%rs", 32: "%r", 64: "%rd"}
    body, names = "", []
    for i, array in enumerate([*arrays, out]):
        bits = 8 * array.itemsize
        names.append(f"{kinds[bits]}{40 + i}")
        body += f"mad.wide.u32 %rd{20 + i}, %r0, {array.itemsize}, %rd{1 + i};\n"
        if array is not out:
            body += f"ld.global.b{bits} {names[i]}, [ %rd{20 + i} + 0 ];\n"
    body += f"{opcode} {names[-1]}, {', '.join(names[:-1])}{constants};\n"
    body += f"st.global.b{result} [ %rd{20 + len(arrays)} + 0 ], {{ {names[-1]} }};"
    run(body, *arrays, out)
    return torch.from_numpy(out)


def random_bits(generator: torch.Generator, bits: int) -> Tensor:
    """Return random integers of ``bits`` bits; some are small, and some are the smallest or largest."""
    wide = torch.randint(-(2**63), 2**63 - 1, (WARP,), generator=generator)
    values = wide >> (64 - bits)
    values[:12] = torch.randint(-20, 20, (12,), generator=generator)
    values[12:15] = torch.tensor([0, 2 ** (bits - 1) - 1, -(2 ** (bits - 1))])
    return values.to(SIGNED[bits])


def random_floats(generator: torch.Generator) -> Tensor:
    """Return float32 numbers with random bits, and some special ones."""
    values = random_bits(generator, 32).view(torch.float32)
    values[:16] = torch.tensor(
        [0.0, -0.0, torch.inf, -torch.inf, torch.nan, 1, -1, 0.5, 1.5, 2.5, 3e9, -3e9, 2**-149] * 2
    )[torch.randint(26, (16,), generator=generator)]
    # Use only one NaN, because C functions change the bits of signalling NaNs.
    return values.where(values == values, torch.nan)


INTEGERS: dict[str, tuple[int, int, Callable[[int, int], int]]] = {
    # Bits of the operands, bits of the result, and the result for two signed numbers.
    "add.s32": (32, 32, lambda a, b: a + b),
    "sub.s16": (16, 16, lambda a, b: a - b),
    "mul.lo.s32": (32, 32, lambda a, b: a * b),
    "mul.hi.u32": (32, 32, lambda a, b: (a % 2**32) * (b % 2**32) >> 32),
    "mul.wide.s32": (32, 64, lambda a, b: a * b),
    "mul.wide.u32": (32, 64, lambda a, b: (a % 2**32) * (b % 2**32)),
    "div.s32": (32, 32, lambda a, b: int(abs(a) // abs(b)) * (1 if (a < 0) == (b < 0) else -1) if b else -1),
    "and.b32": (32, 32, lambda a, b: a & b),
    "or.b64": (64, 64, lambda a, b: a | b),
    "xor.b16": (16, 16, lambda a, b: a ^ b),
    "max.s32": (32, 32, max),
    "min.s32": (32, 32, min),
    "min.relu.s32": (32, 32, lambda a, b: max(min(a, b), 0)),
    "max.u16": (16, 16, lambda a, b: max(a % 2**16, b % 2**16)),
}


@pytest.mark.parametrize("opcode", INTEGERS)
def test_integers(opcode: str, generator: torch.Generator) -> None:
    operand, result, expected = INTEGERS[opcode]
    a, b = random_bits(generator, operand), random_bits(generator, operand)
    if opcode.startswith("div"):
        b = torch.where(b == 0, 3, b)
    found = calculate(opcode, result, a, b).tolist()
    assert [x % 2**result for x in found] == [expected(x, y) % 2**result for x, y in zip(a.tolist(), b.tolist())]


def test_remainder_has_the_sign_of_the_dividend(generator: torch.Generator) -> None:
    a, b = random_bits(generator, 32), random_bits(generator, 32)
    b = torch.where(b == 0, 7, b)
    assert torch.equal(calculate("rem.s32", 32, a, b), torch.fmod(a.long(), b.long()).int())


@pytest.mark.parametrize("opcode", ["shl.b32", "shr.u32", "shr.s32", "shr.u64", "shl.b64"])
def test_shifts_by_more_bits_than_the_type_has(opcode: str, generator: torch.Generator) -> None:
    name, kind = opcode.split(".")
    bits = int(kind[1:])
    a, counts = random_bits(generator, bits), torch.randint(0, 100, (WARP,), generator=generator, dtype=torch.int32)
    found = calculate(opcode, bits, a, counts).tolist()
    numbers = a.tolist() if kind[0] == "s" else [x % 2**bits for x in a.tolist()]
    expected = [x << n if name == "shl" else x >> n for x, n in zip(numbers, counts.tolist())]
    assert [x % 2**bits for x in found] == [x % 2**bits for x in expected]


@pytest.mark.parametrize(("start", "length"), [(0, 1), (4, 1), (3, 7), (5, 27), (0, 32)])
def test_extracted_bits(start: int, length: int, generator: torch.Generator) -> None:
    a = random_bits(generator, 32)
    unsigned = [(x % 2**32 >> start) % 2**length for x in a.tolist()]
    signed = [x - 2**length if x >= 2 ** (length - 1) else x for x in unsigned]
    constants = f", {start}, {length}"
    assert [x % 2**32 for x in calculate("bfe.u32", 32, a, constants=constants).tolist()] == unsigned
    assert calculate("bfe.s32", 32, a, constants=constants).tolist() == signed


def test_permuted_bytes(generator: torch.Generator) -> None:
    a, b, selector = (random_bits(generator, 32) for _ in range(3))
    expected = []
    for x, y, chosen in zip(a.tolist(), b.tolist(), selector.tolist()):
        eight = (x % 2**32 | y % 2**32 << 32).to_bytes(8, "little")
        choices = [chosen % 2**32 >> 4 * byte & 15 for byte in range(4)]
        permuted = [(255 if eight[c & 7] > 127 else 0) if c & 8 else eight[c & 7] for c in choices]
        expected.append(int.from_bytes(bytes(permuted), "little", signed=True))
    assert calculate("prmt.b32", 32, a, b, selector).tolist() == expected


@pytest.mark.parametrize("bits", [0, 8, 24, 31, 40])
def test_funnel_shifts(bits: int, generator: torch.Generator) -> None:
    low, high = random_bits(generator, 32), random_bits(generator, 32)
    wholes = [(x % 2**32 | y % 2**32 << 32) for x, y in zip(low.tolist(), high.tolist())]
    for direction, moved in (("l", [w << bits % 32 >> 32 for w in wholes]), ("r", [w >> bits % 32 for w in wholes])):
        found = calculate(f"shf.{direction}.wrap.b32", 32, low, high, constants=f", {bits}")
        assert [x % 2**32 for x in found.tolist()] == [w % 2**32 for w in moved]


def same_numbers(found: Tensor, expected: Tensor) -> bool:
    """Return whether two tensors have the same bits. All NaNs are considered equal."""
    number = expected == expected
    found = found.view(expected.dtype)
    integer = SIGNED[8 * expected.element_size()]
    return torch.equal(found.isnan(), ~number) and torch.equal(
        found.view(integer).where(number, 0), expected.view(integer).where(number, 0)
    )


@pytest.mark.parametrize("name", ["add", "sub", "mul"])
def test_arithmetic_of_floats(name: str, generator: torch.Generator) -> None:
    a, b = random_floats(generator), random_floats(generator)
    expected = getattr(torch, name)(a, b)
    assert same_numbers(calculate(f"{name}.rn.f32", 32, a, b), expected)
    pairs = [torch.stack([x, y], dim=1).view(torch.float64)[:, 0] for x, y in ((a, b), (b, a))]
    found = calculate(f"{name}.rn.f32x2", 64, *pairs).view(torch.int32).view(WARP, 2)
    assert same_numbers(found[:, 0], expected)
    assert same_numbers(found[:, 1], getattr(torch, name)(b, a))


def test_float16_minus_float32(generator: torch.Generator) -> None:
    a, b = random_floats(generator).half(), random_floats(generator)
    assert same_numbers(calculate("sub.rn.f32.f16", 32, a, b), a.float() - b)


@pytest.mark.parametrize("name", ["max", "min"])
def test_extremes_of_floats(name: str, generator: torch.Generator) -> None:
    a, b = random_floats(generator), random_floats(generator)
    a[:4], b[:4] = torch.tensor([0.0, -0.0, torch.nan, 1]), torch.tensor([-0.0, 0.0, 1, torch.nan])
    negative = (a.signbit() & b.signbit()) if name == "max" else (a.signbit() | b.signbit())
    for opcode, function in ((f"{name}.f32", f"f{name}"), (f"{name}.NaN.f32", f"{name}imum")):
        expected = getattr(torch, function)(a, b)
        expected = torch.where((a == 0) & (b == 0), torch.where(negative, -0.0, 0.0), expected)
        assert same_numbers(calculate(opcode, 32, a, b), expected)
    three = calculate(f"{name}.NaN.f32", 32, a, b, torch.full((WARP,), 3.0))
    assert same_numbers(three, getattr(torch, f"{name}imum")(expected, torch.tensor(3.0)))


COMPARISONS = {
    "eq": torch.eq, "ne": torch.ne, "lt": torch.lt, "le": torch.le, "gt": torch.gt, "ge": torch.ge
}  # fmt: skip


@pytest.mark.parametrize("name", COMPARISONS)
def test_comparisons_with_nan(name: str, generator: torch.Generator) -> None:
    a, b = random_floats(generator), random_floats(generator)
    a[:8] = b[:8]
    a[3], b[4] = torch.nan, torch.nan
    unordered, compared = a.isnan() | b.isnan(), COMPARISONS[name](a, b)
    for flag, expected in ((name, compared & ~unordered), (name + "u", compared | unordered)):
        out = np.zeros(WARP, dtype=np.int32)
        body = (
            "mad.wide.u32 %rd10, %r0, 4, %rd1;\nmad.wide.u32 %rd11, %r0, 4, %rd2;\nmad.wide.u32 %rd12, %r0, 4, %rd3;\n"
            "ld.global.b32 %r1, [ %rd10 + 0 ];\nld.global.b32 %r2, [ %rd11 + 0 ];\n"
            f"setp.{flag}.f32 %p1, %r1, %r2;\nselp.b32 %r3, 1, 0, %p1;\nst.global.b32 [ %rd12 + 0 ], {{ %r3 }};"
        )
        run(body, a.view(torch.int32).numpy(), b.view(torch.int32).numpy(), out)
        assert out.tolist() == expected.int().tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_conversion_of_float16_and_bfloat16(dtype: torch.dtype, generator: torch.Generator) -> None:
    kind = {torch.float16: "f16", torch.bfloat16: "bf16"}[dtype]
    a, b = random_floats(generator), random_floats(generator)
    assert same_numbers(calculate(f"cvt.rn.{kind}.f32", 16, a), a.to(dtype))
    assert same_numbers(calculate(f"cvt.f32.{kind}", 32, a.to(dtype)), a.to(dtype).float())
    found = calculate(f"cvt.rn.{kind}x2.f32", 32, a, b).view(torch.int16).view(WARP, 2)
    assert same_numbers(found[:, 1], a.to(dtype)), "the first operand is the higher half"
    assert same_numbers(found[:, 0], b.to(dtype))


def test_floats_to_integers(generator: torch.Generator) -> None:
    a = random_floats(generator)
    a[0] = torch.nan
    limited = a.double().nan_to_num(0).trunc().clamp(-(2**31), 2**31 - 1)
    assert torch.equal(calculate("cvt.rzi.s32.f32", 32, a), limited.int())
    small = a.where(a.abs() >= 2**-126, a * 0)
    assert same_numbers(calculate("cvt.rmi.ftz.f32.f32", 32, a), small.floor())


def test_doubles_to_integers(generator: torch.Generator) -> None:
    a = random_floats(generator).double()
    a[0] = torch.nan
    limited = a.nan_to_num(0).trunc().clamp(-(2**31), 2**31 - 1).int()
    assert torch.equal(calculate("cvt.rzi.s32.f64", 32, a), limited.where(~a.isnan(), -(2**31)))
    whole = a.nan_to_num(0).clamp(-(2.0**62), 2.0**62)
    assert torch.equal(calculate("cvt.rzi.s64.f64", 64, whole), whole.long())


def test_square_root(generator: torch.Generator) -> None:
    a = random_floats(generator).double().abs()
    # With MKL, torch.sqrt of float64 is not rounded correctly.
    assert same_numbers(calculate("sqrt.rn.f64", 64, a), torch.from_numpy(np.sqrt(a.numpy())))


def test_division_of_floats(generator: torch.Generator) -> None:
    a, b = random_floats(generator), random_floats(generator)
    assert same_numbers(calculate("div.full.f32", 32, a, b), a / b)
    assert same_numbers(calculate("div.rn.f64", 64, a.double(), b.double()), a.double() / b.double())


def test_power_of_two(generator: torch.Generator) -> None:
    a = torch.empty(WARP).uniform_(-30, 30, generator=generator)
    torch.testing.assert_close(calculate("ex2.approx.f32", 32, a).view(torch.float32), a.exp2())


@pytest.mark.parametrize(("kind", "bits"), [("s8", 8), ("s16", 16)])
def test_conversion_to_a_narrow_integer_keeps_the_low_bits(kind: str, bits: int, generator: torch.Generator) -> None:
    a = random_bits(generator, 32)
    low = [(x + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1) for x in a.tolist()]
    assert calculate(f"cvt.{kind}.s32", 32, a).tolist() == low


def test_integers_to_floats(generator: torch.Generator) -> None:
    a = random_bits(generator, 32)
    assert same_numbers(calculate("cvt.rn.f32.s32", 32, a), a.float())
    assert same_numbers(calculate("cvt.rn.f64.u32", 64, a), (a.long() % 2**32).double())
    assert torch.equal(calculate("cvt.s64.s32", 64, a), a.long())


@pytest.mark.parametrize("mask", [1, 4, 16, 31])
def test_exchange_between_lanes(mask: int, generator: torch.Generator) -> None:
    a = random_bits(generator, 32)
    lanes = torch.arange(WARP)
    assert torch.equal(calculate("shfl.sync.bfly.b32", 32, a, constants=f", {mask}, 31, -1"), a[lanes ^ mask])
    assert torch.equal(calculate("shfl.sync.idx.b32", 32, a, constants=f", {mask}, 31, -1"), a[mask].expand(WARP))
    assert torch.equal(calculate("redux.sync.max.s32", 32, a, constants=", -1"), a.max().expand(WARP))
    assert torch.equal(calculate("redux.sync.add.s32", 32, a, constants=", -1"), a.sum(dtype=torch.int32).expand(WARP))


@pytest.mark.parametrize("trans", [".trans", ""])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_matrices(count: int, trans: str, generator: torch.Generator) -> None:
    """Load two numbers per lane with ``ldmatrix``, and store them unchanged with ``stmatrix``."""
    matrices = random_bits(generator, 16)[:1] + torch.arange(count * 64, dtype=torch.int16).view(count, 8, 8)
    loaded, stored = np.zeros((WARP, count, 2), dtype=np.int16), np.zeros((count, 8, 8), dtype=np.int16)
    names = ", ".join(f"%r{10 + i}" for i in range(count))
    form = f"sync.aligned.m8n8.x{count}{trans}.shared.b16"
    body = (
        # The first lanes, one per row, write the rows to shared memory at the start, and read them back at the end.
        f"setp.lt.s32 %p1, %r0, {8 * count};\nmul.wide.u32 %rd10, %r0, 16;\nshl.b32 %r1, %r0, 4;\n"
        "selp.b32 %r1, %r1, 0, %p1;\nadd.s64 %rd11, %rd10, %rd1;\nadd.s64 %rd12, %rd10, %rd3;\n"
        "@%p1 ld.global.v4.b32 {%r2, %r3, %r4, %r5}, [ %rd11 + 0 ];\n"
        "@%p1 st.shared.v4.b32 [ %r1 + 0 ], {%r2, %r3, %r4, %r5};\n"
        f"bar.sync 0;\nldmatrix.{form} {{{names}}}, [%r1];\n"
        f"mad.wide.u32 %rd13, %r0, {4 * count}, %rd2;\n"
        + "".join(f"st.global.b32 [ %rd13 + {4 * i} ], {{ %r{10 + i} }};\n" for i in range(count))
        + f"add.s32 %r6, %r1, 512;\nstmatrix.{form} [%r6], {{{names}}};\n"
        "@%p1 ld.shared.v4.b32 {%r2, %r3, %r4, %r5}, [%r6];\n"
        "@%p1 st.global.v4.b32 [ %rd12 + 0 ], {%r2, %r3, %r4, %r5};"
    )
    run(body, matrices.numpy(), loaded, stored, shared=1024)
    assert (stored == matrices.numpy()).all()
    expected = (matrices.mT if trans else matrices).reshape(count, WARP, 2).transpose(0, 1)
    assert (loaded == expected.numpy()).all()


@pytest.mark.parametrize(
    "unknown",
    ["fma.rn.f32 %r1, %r1, %r1, %r1", "add.f32 %r1, %r1, %r1", "mul.f32 %r1, %r1, %r1", "add.sat.s32 %r1, %r1, %r1",
     "lg2.approx.f32 %r1, %r1", "shfl.sync.up.b32 %r1, %r1, 1, 0, -1", "cvt.rni.s32.f32 %r1, %r1",
     "add.rn.f32.s32 %r1, %r1, %r1", "ld.volatile.global.b32 %r1, [ %rd1 + 0 ]", "bar.sync 1",
     "div.u64 %rd1, %rd1, %rd1", "div.f32 %r1, %r1, %r1", "bfe.s32 %r1, %r1, 4, 0", "bfe.s32 %r1, %r1, 24, 16",
     "setp.ltu.s32 %p1, %r1, %r1", "setp.lt.and.s32 %p1, %r1, %r1, %p1", "cvt.rn.bf16.f64 %rs1, %rd1",
     "cvt.f32.s32 %r1, %r1", "cvt.rzi.s64.f32 %rd1, %r1", "cvt.rmi.f32.s32 %r1, %r1", "redux.sync.max.b32 %r1, %r1, -1",
     "ld.param.v2.b32 {%r1, %r2}, [kernel_param_0]", "ld.global.v2.b32 %r1, [ %rd1 + 0 ]", ".local .b32 %x",
     "add.rn.f64 %rd1, %rd1, 0f3F800000", "add.rn.f32 %r1, %r1, 1"],
)  # fmt: skip
def test_unknown_and_fusible_instructions_are_rejected(unknown: str) -> None:
    with pytest.raises(NotImplementedError):
        run(f"{unknown};", np.zeros(WARP, dtype=np.int32))
