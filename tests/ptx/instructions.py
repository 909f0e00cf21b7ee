"""What each instruction does to the registers and the memory of a warp."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np

from .machine import LANES, WARP, Execute, Instruction, MachineError, Program, Read, Warp, statements
from .numbers import TYPE, bits, is_float, number_type, numbers, register_type, width, write


def parse(source: str) -> Program:
    """Read the kernel in a text of PTX.

    Raises:
        NotImplementedError: an instruction is not known.
    """
    program = Program()
    program.parameters, body = statements(source)
    for statement in body:
        if statement.endswith(":"):
            program.labels[statement[:-1]] = len(program.instructions)
        elif registers := re.fullmatch(r"\.reg \.(\w+) (%\w+)<(\d+)>", statement):
            program.registers[registers[2]] = (registers[1], int(registers[3]))
        elif not statement.startswith(".pragma"):
            program.instructions.append(_instruction(statement))
    return program


def _instruction(text: str) -> Instruction:
    parts = re.fullmatch(r"(?:@(!?)(%\w+) )?([a-z][\w.:]*) ?(.*)", text)
    if parts is None:
        raise NotImplementedError(text)
    negated, condition, opcode, rest = parts.groups()
    guard = None if condition is None else lambda warp: warp.registers[condition] != bool(negated)
    name, *flags = opcode.replace("::", "_").split(".")
    if opcode in ("bra", "bra.uni"):
        return Instruction(text, guard, label=rest)
    if opcode == "ret":
        return Instruction(text, guard, ends=True)
    if opcode == "bar.sync" and rest == "0":
        return Instruction(text, guard, waits=True)
    if name not in _MEANINGS:
        raise NotImplementedError(text)
    operands = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^\s,{}\[\]]+", rest)
    kinds = [flag for flag in flags if TYPE.fullmatch(flag)]
    form = _Form(text, name, frozenset(flags).difference(kinds), kinds, operands)
    try:
        return Instruction(text, guard, execute=_MEANINGS[name](form))
    except (ValueError, LookupError, OverflowError) as error:
        raise NotImplementedError(text) from error


@dataclass(frozen=True)
class _Form:
    """An instruction in its parts: name, types and other flags of the opcode, operands."""

    text: str
    name: str
    flags: frozenset[str]
    kinds: list[str]
    operands: list[str]

    @property
    def kind(self) -> str:
        """The only type; an instruction with several is refused."""
        if len(self.kinds) != 1:
            raise self.unknown()
        return self.kinds[0]

    def knows(self, *flags: str) -> None:
        """Refuse flags that change what the instruction means."""
        if not self.flags.issubset(flags):
            raise self.unknown()

    def unknown(self) -> NotImplementedError:
        return NotImplementedError(self.text)

    def source(self, position: int, kind: str | None = None) -> Read:
        return _source(self.operands[position], kind or self.kind)

    def sources(self) -> list[Read]:
        return [self.source(position) for position in range(1, len(self.operands))]

    def result(self, values: Read, kind: str | None = None) -> Execute:
        """Write values, of the only type or another, to the first operand."""
        name, kind = self.operands[0], kind or self.kind
        return lambda warp, lanes: write(warp.registers[name], values(warp), kind, lanes)


def _source(text: str, kind: str) -> Read:
    """Read a register or a constant as numbers."""
    if text.startswith(("%tid", "%ctaid")):
        return lambda warp: numbers(warp.special[text], kind)
    if text.startswith("%"):
        return lambda warp: numbers(warp.registers[text], kind)
    constant = _constant(text, kind)
    return lambda warp: constant


def _constant(text: str, kind: str) -> np.ndarray:
    if text == "global_smem":  # all of shared memory
        value = 0
    elif kind == "pred":
        value = int(text) != 0
    elif text[:2] == {32: "0f", 64: "0d"}.get(width(kind)):
        value = int(text[2:], 16)
    elif is_float(kind):
        raise ValueError(text)
    else:
        value = int(text.rstrip("U"), 0) % 2 ** width(kind)
    return numbers(np.full(WARP, value, dtype=register_type(kind)), kind)


def _names(operand: str) -> list[str]:
    """One register, or those in braces."""
    return operand.strip("{} ").replace(",", " ").split()


def _of_one_type(calculate: Callable[..., np.ndarray]) -> Callable[[_Form], Execute]:
    def make(form: _Form) -> Execute:
        form.knows()
        sources = form.sources()
        return form.result(lambda warp: calculate(*(source(warp) for source in sources)))

    return make


def _add(form: _Form) -> Execute:
    """``add`` and ``sub``, of which the first number may be of a smaller type."""
    kind, first = form.kinds[0], form.kinds[-1]
    # Without the flag, a sum may become one with the product in it.
    if form.flags != ({"rn"} if is_float(kind) else set()) or first not in (kind, "f16", "bf16"):
        raise form.unknown()
    left, right = form.source(1, first), form.source(2, kind)
    calculate = np.add if form.name == "add" else np.subtract
    return form.result(lambda warp: calculate(left(warp), right(warp)), kind)


def _multiply(form: _Form) -> Execute:
    """``mul`` and ``mad``: of integers the low or the high half of the product, or all of it."""
    if is_float(form.kind):
        if form.name != "mul" or form.flags != {"rn"}:
            raise form.unknown()
        first, second = form.sources()
        return form.result(lambda warp: first(warp) * second(warp))
    (part,) = form.flags
    whole = form.kind[0] + str(2 * width(form.kind)) if part != "lo" else form.kind
    if part not in ("lo", "wide", "hi") or (part == "hi" and form.name == "mad"):
        raise form.unknown()
    first, second = form.source(1), form.source(2)
    added = form.source(3, whole) if form.name == "mad" else None

    def values(warp: Warp) -> np.ndarray:
        product = first(warp).astype(number_type(whole)) * second(warp)
        if part == "hi":
            return product >> width(form.kind)
        return product if added is None else product + added(warp)

    return form.result(values, form.kind if part == "hi" else whole)


def _divide(calculate: Callable[..., np.ndarray]) -> Callable[[_Form], Execute]:
    def make(form: _Form) -> Execute:
        if form.kind not in ("s32", "u32"):
            raise form.unknown()
        return _of_one_type(calculate)(form)

    return make


def _quotient(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Towards zero; of a division by zero, anything."""
    left, right = left.astype(np.int64), np.where(right == 0, 1, right).astype(np.int64)
    return np.sign(left) * np.sign(right) * (np.abs(left) // np.abs(right))


def _remainder(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return left.astype(np.int64) - _quotient(left, right) * right


def _choice(form: _Form) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """``min`` or ``max``: of a number and NaN the number, but with the flag NaN; -0 is less than 0."""
    largest = "max" in (form.name, *form.flags)
    with_nan, without_nan = (np.maximum, np.fmax) if largest else (np.minimum, np.fmin)
    choose: np.ufunc = with_nan if "NaN" in form.flags or not is_float(form.kind) else without_nan

    def extreme(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        chosen = choose(left, right)
        if is_float(form.kind):
            negative = (np.logical_and if largest else np.logical_or)(np.signbit(left), np.signbit(right))
            chosen = np.where((left == 0) & (right == 0), np.where(negative, -0.0, 0.0), chosen)
        return chosen

    return extreme


def _extreme(form: _Form) -> Execute:
    form.knows("NaN", "relu")
    choose, sources = _choice(form), form.sources()
    relu = "relu" in form.flags
    if relu and is_float(form.kind):
        raise form.unknown()

    def values(warp: Warp) -> np.ndarray:
        chosen = reduce(choose, (source(warp) for source in sources))
        return np.maximum(chosen, 0) if relu else chosen

    return form.result(values)


def _reduce(form: _Form) -> Execute:
    """``redux``: the least or greatest number of all lanes, in every one."""
    if form.flags not in ({"sync", "min"}, {"sync", "max"}) or form.kind not in ("s32", "u32", "f32"):
        raise form.unknown()
    choose, value, members = _choice(form), form.source(1), form.source(2, "s32")

    def values(warp: Warp) -> np.ndarray:
        if (members(warp) != -1).any():
            raise MachineError("not all lanes of a warp are named")
        lanes = value(warp)
        return np.full(WARP, reduce(choose, lanes), dtype=lanes.dtype)

    return _by_all_lanes(form.result(values))


def _shuffle(form: _Form) -> Execute:
    """``shfl``: the value of the lane with a number, or of that whose number differs in some bits."""
    if form.flags not in ({"sync", "bfly"}, {"sync", "idx"}) or form.operands[3:] != ["31", "-1"]:
        raise form.unknown()
    value, lane = form.source(1), form.source(2, "u32")
    own = LANES if "bfly" in form.flags else np.zeros(WARP, dtype=np.int64)
    return _by_all_lanes(form.result(lambda warp: value(warp)[own ^ (lane(warp) & np.uint32(31))]))


def _by_all_lanes(execute: Execute) -> Execute:
    def checked(warp: Warp, lanes: np.ndarray) -> None:
        if not lanes.all():
            raise MachineError("not all lanes of a warp take part")
        execute(warp, lanes)

    return checked


def _shift(form: _Form) -> Execute:
    """``shl`` and ``shr``: by as many bits as there are, and more, too."""
    form.knows()
    value, amount, last = form.source(1), form.source(2, "u32"), width(form.kind) - 1
    move = np.left_shift if form.name == "shl" else np.right_shift

    def values(warp: Warp) -> np.ndarray:
        number, by = value(warp), amount(warp)
        moved = move(number, np.minimum(by, last).astype(number.dtype))
        return np.where(by <= last, moved, -(number < 0).astype(number.dtype))

    return form.result(values)


def _extract(form: _Form) -> Execute:
    """``bfe``: some bits, of which the highest is the sign of a signed number."""
    form.knows()
    if width(form.kind) != 32:
        raise form.unknown()
    value, start, length = form.source(1, "b32"), int(form.operands[2]), int(form.operands[3])
    if length == 0 or start + length > 32:
        raise form.unknown()
    highest = np.uint32(32 - start - length)
    return form.result(lambda warp: (value(warp) << highest).view(number_type(form.kind)) >> (32 - length))


def _permute(form: _Form) -> Execute:
    """``prmt``: each byte is one of eight, or its sign in every bit."""
    form.knows()
    first, second, selector = form.source(1, "b32"), form.source(2, "b32"), form.source(3, "b32")

    def values(warp: Warp) -> np.ndarray:
        eight = np.stack([first(warp), second(warp)], axis=1).view(np.uint8)
        choice = (selector(warp)[:, None] >> (np.uint32(4) * np.arange(4, dtype=np.uint32))) & np.uint32(15)
        chosen = np.take_along_axis(eight, (choice & np.uint32(7)).astype(np.int64), axis=1)
        signs = (chosen.view(np.int8) >> 7).view(np.uint8)
        return np.where(choice >= 8, signs, chosen).view(np.uint32)[:, 0]

    return form.result(values)


_COMPARE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}


def _compare(form: _Form) -> Execute:
    """``setp``: of NaN, false, but true for comparisons that end with u."""
    (flag,) = form.flags
    left, right = form.sources()
    unordered_too = is_float(form.kind) and (flag in ("nan", "num") or flag.removesuffix("u") in _COMPARE)
    if flag not in _COMPARE and not unordered_too:
        raise form.unknown()

    def values(warp: Warp) -> np.ndarray:
        a, b = left(warp), right(warp)
        unordered = (a != a) | (b != b)
        if flag in ("nan", "num"):
            return unordered == (flag == "nan")
        return np.where(unordered, flag.endswith("u"), _COMPARE[flag.removesuffix("u")](a, b))

    return form.result(values, "pred")


def _select(form: _Form) -> Execute:
    form.knows()
    yes, no, which = form.source(1), form.source(2), form.source(3, "pred")
    return form.result(lambda warp: np.where(which(warp), yes(warp), no(warp)))


def _move(form: _Form) -> Execute:
    """``mov``: of one register, or of one from or to several that are as wide together."""
    form.knows()
    to, of = (_names(operand) for operand in form.operands)
    if len(to) == len(of):
        return form.result(form.source(1))
    narrow, wide = f"b{width(form.kind) // max(len(to), len(of))}", f"b{width(form.kind)}"
    sources = [_source(name, narrow if len(of) > 1 else wide) for name in of]

    def execute(warp: Warp, lanes: np.ndarray) -> None:
        read = np.stack([source(warp) for source in sources], axis=1)
        written = read.view(register_type(narrow if len(to) > 1 else wide))
        for place, name in enumerate(to):
            if name != "_":  # what nobody wants
                write(warp.registers[name], written[:, place], narrow if len(to) > 1 else wide, lanes)

    return execute


def _convert(form: _Form) -> Execute:
    """``cvt``, to the nearest; to an integer towards zero, within its limits; or down to a whole number."""
    to, of = form.kinds
    if to in ("f16x2", "bf16x2") and of == "f32" and form.flags == {"rn"}:
        return _convert_pair(form, to.removesuffix("x2"), of)
    source = form.source(1, of)
    if (to, of) == ("f32", "f32") and form.flags in ({"rmi"}, {"rmi", "ftz"}):
        return form.result(
            lambda warp: np.floor(_without_denormals(source(warp)) if "ftz" in form.flags else source(warp)), to
        )
    if to in ("s32", "u32") and of in ("f32", "f64") and form.flags == {"rzi"}:
        return form.result(lambda warp: _towards_zero(source(warp), to), to)
    if form.flags != _ROUNDING.get((to, of), None if is_float(to) or is_float(of) else set()):
        raise form.unknown()
    return form.result(source, to)


#: Of conversions that round, and of those that lose nothing, the flags.
_ROUNDING: dict[tuple[str, str], set[str]] = {
    **{(to, of): {"rn"} for to in ("f32", "f64") for of in ("s16", "u16", "s32", "u32", "s64", "u64")},
    **{("f32", "f64"): {"rn"}, ("f16", "f32"): {"rn"}, ("bf16", "f32"): {"rn"}},
    **{("f32", "f16"): set(), ("f32", "bf16"): set(), ("f64", "f32"): set()},
}


def _without_denormals(value: np.ndarray) -> np.ndarray:
    return np.where(np.abs(value) < np.finfo(np.float32).tiny, np.copysign(np.float32(0), value), value)


def _towards_zero(value: np.ndarray, to: str) -> np.ndarray:
    """Of NaN, 0; but of one of 64 bits, the highest bit."""
    limits = np.iinfo(number_type(to))
    whole = np.clip(np.trunc(np.nan_to_num(value.astype(np.float64))), limits.min, limits.max).astype(np.int64)
    return np.where(np.isnan(value), 2**31 if value.dtype == np.float64 else 0, whole)


def _convert_pair(form: _Form, to: str, of: str) -> Execute:
    high, low = form.source(1, of), form.source(2, of)

    def values(warp: Warp) -> np.ndarray:
        halves = [bits(source(warp), to) for source in (low, high)]
        return np.stack(halves, axis=1).view(np.uint32)[:, 0]

    return form.result(values, "b32")


def _address(operand: str) -> Read:
    """A register or a symbol, and a number of bytes."""
    base, *offset = re.split(r"\s*\+\s*", operand.strip("[] "))
    value, bytes_ = _source(base, "b64"), np.uint64(int(*offset or ["0"]))
    return lambda warp: value(warp) + bytes_


def _vector(form: _Form, operand: int) -> list[str]:
    """The registers of an access, as many as its flag says."""
    names = _names(form.operands[operand])
    if form.flags.intersection(("v2", "v4")) != ({f"v{len(names)}"} if len(names) > 1 else set()):
        raise form.unknown()
    return names


def _load(form: _Form) -> Execute:
    (space,) = form.flags.difference(("v2", "v4"))
    names, kind = _vector(form, 0), form.kind
    if space == "param" and len(names) == 1:
        return _load_parameter(names[0], form.operands[1].strip("[] "), kind)
    if space not in ("global", "shared"):
        raise form.unknown()
    address = _address(form.operands[1])

    def execute(warp: Warp, lanes: np.ndarray) -> None:
        elements, index = warp.memories[space].access(address(warp)[lanes], kind, len(names))
        loaded = np.zeros((len(names), WARP), dtype=elements.dtype)
        loaded[:, lanes] = elements[index + np.arange(len(names))[:, None]]
        for name, row in zip(names, loaded):
            write(warp.registers[name], numbers(row, kind), kind, lanes)

    return execute


def _load_parameter(register: str, name: str, kind: str) -> Execute:
    def execute(warp: Warp, lanes: np.ndarray) -> None:
        value = warp.parameters[name]
        if isinstance(value, float) and width(kind) != 32:
            raise MachineError(f"{value} is a float32")
        raw = np.float32(value).view(np.uint32) if isinstance(value, float) else np.int64(value).view(np.uint64)
        write(warp.registers[register], numbers(np.full(WARP, raw), kind), kind, lanes)

    return execute


def _store(form: _Form) -> Execute:
    (space,) = form.flags.difference(("v2", "v4"))
    if space not in ("global", "shared_cta", "shared"):
        raise form.unknown()
    address, kind, memory = _address(form.operands[0]), form.kind, space.removesuffix("_cta")
    sources = [_source(name, kind) for name in _vector(form, 1)]

    def execute(warp: Warp, lanes: np.ndarray) -> None:
        elements, index = warp.memories[memory].access(address(warp)[lanes], kind, len(sources))
        for place, source in enumerate(sources):
            elements[index + place] = bits(source(warp), kind)[lanes]

    return execute


def _matrices(form: _Form) -> Execute:
    """``ldmatrix`` and ``stmatrix``: of 8 rows of 8 numbers of 16 bits, in shared memory.

    Each lane has the address of one row, and two numbers of every matrix that follow in a row, or in a column (trans).
    """
    loads = form.name == "ldmatrix"
    names, address = _names(form.operands[not loads]), _address(form.operands[loads])
    if form.flags.difference(("trans",)) != {"sync", "aligned", "m8n8", f"x{len(names)}", "shared"}:
        raise form.unknown()
    row, column = LANES[:, None] // 4, LANES[:, None] % 4 * 2 + np.arange(2)
    if "trans" in form.flags:
        row, column = column, row

    def execute(warp: Warp, lanes: np.ndarray) -> None:
        elements, rows = warp.memories["shared"].access(address(warp)[: 8 * len(names)], "b16", 8)
        for matrix, name in enumerate(names):
            place = rows[8 * matrix + row] + column
            if loads:
                write(warp.registers[name], elements[place].view(np.uint32)[:, 0], "b32", lanes)
            else:
                elements[place] = warp.registers[name][:, None].view(np.uint16)

    return _by_all_lanes(execute)


_MEANINGS: dict[str, Callable[[_Form], Execute]] = {
    "abs": _of_one_type(np.abs),
    "add": _add,
    "and": _of_one_type(np.bitwise_and),
    "bfe": _extract,
    "cvt": _convert,
    "div": _divide(_quotient),
    "ld": _load,
    "ldmatrix": _matrices,
    "mad": _multiply,
    "max": _extreme,
    "min": _extreme,
    "mov": _move,
    "mul": _multiply,
    "neg": _of_one_type(np.negative),
    "not": _of_one_type(np.invert),
    "or": _of_one_type(np.bitwise_or),
    "prmt": _permute,
    "redux": _reduce,
    "rem": _divide(_remainder),
    "selp": _select,
    "setp": _compare,
    "shfl": _shuffle,
    "shl": _shift,
    "shr": _shift,
    "st": _store,
    "stmatrix": _matrices,
    "sub": _add,
    "xor": _of_one_type(np.bitwise_xor),
}
