"""Instructions that compute with numbers: sums, products, extremes, comparisons and conversions."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np

from .form import Form
from .machine import Execute, Warp
from .numbers import bits, is_float, number_type, width


def elementwise(calculate: Callable[..., np.ndarray]) -> Callable[[Form], Execute]:
    """Return a parser of instructions that apply a NumPy function to operands of one type."""

    def make(form: Form) -> Execute:
        form.allow_flags()
        sources = form.sources()
        return form.result(lambda warp: calculate(*(source(warp) for source in sources)))

    return make


def _add(form: Form) -> Execute:
    """``add`` and ``sub``; the first operand may have a smaller type."""
    kind, first = form.kinds[0], form.kinds[-1]
    # Without .rn, ptxas may fuse the sum with a product.
    if form.flags != ({"rn"} if is_float(kind) else set()) or first not in (kind, "f16", "bf16"):
        raise form.unknown()
    left, right = form.source(1, first), form.source(2, kind)
    calculate = np.add if form.name == "add" else np.subtract
    return form.result(lambda warp: calculate(left(warp), right(warp)), kind)


def _multiply(form: Form) -> Execute:
    """``mul`` and ``mad``; for integers, the low half (lo), the high half (hi) or all (wide) of the product."""
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


def _square_root(form: Form) -> Execute:
    if form.flags != {"rn"}:
        raise form.unknown()
    (source,) = form.sources()
    return form.result(lambda warp: np.sqrt(source(warp)))


def _divide(calculate: Callable[..., np.ndarray]) -> Callable[[Form], Execute]:
    def make(form: Form) -> Execute:
        if is_float(form.kind):
            return _divide_floats(form)
        if form.kind not in ("s32", "u32"):
            raise form.unknown()
        return elementwise(calculate)(form)

    return make


def _divide_floats(form: Form) -> Execute:
    """``div.full.f32``, whose error is at most 2 ulp on a GPU and which is rounded here, and ``div.rn.f64``."""
    if form.name != "div" or form.flags != ({"full"} if form.kind == "f32" else {"rn"}):
        raise form.unknown()
    left, right = form.sources()
    return form.result(lambda warp: left(warp) / right(warp))


def _power_of_two(form: Form) -> Execute:
    """``ex2.approx.f32``, whose error is at most 2 ulp on a GPU, and which is rounded here."""
    if form.kind != "f32" or form.flags != {"approx"}:
        raise form.unknown()
    (source,) = form.sources()
    return form.result(lambda warp: np.exp2(source(warp)))


def _quotient(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the quotient, rounded towards zero. Division by zero is undefined in PTX; here it gives the dividend."""
    left, right = left.astype(np.int64), np.where(right == 0, 1, right).astype(np.int64)
    return np.sign(left) * np.sign(right) * (np.abs(left) // np.abs(right))


def _remainder(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return left.astype(np.int64) - _quotient(left, right) * right


def choice(form: Form) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return the function ``min`` or ``max`` of an instruction. -0 is less than 0.

    If one operand is NaN, the result is NaN with the flag NaN, and otherwise the other operand.
    """
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


def _extreme(form: Form) -> Execute:
    form.allow_flags("NaN", "relu")
    choose, sources = choice(form), form.sources()
    relu = "relu" in form.flags
    if relu and is_float(form.kind):
        raise form.unknown()

    def values(warp: Warp) -> np.ndarray:
        chosen = reduce(choose, (source(warp) for source in sources))
        return np.maximum(chosen, 0) if relu else chosen

    return form.result(values)


_COMPARE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}


def _compare(form: Form) -> Execute:
    """``setp``: a comparison with NaN is false, or true if the flag ends with u."""
    (flag,) = form.flags
    left, right = form.sources()
    known = flag in _COMPARE
    if is_float(form.kind):
        known = flag.removesuffix("u") in _COMPARE or flag in ("nan", "num")
    if not known:
        raise form.unknown()

    def values(warp: Warp) -> np.ndarray:
        a, b = left(warp), right(warp)
        unordered = (a != a) | (b != b)
        if flag in ("nan", "num"):
            return unordered == (flag == "nan")
        return np.where(unordered, flag.endswith("u"), _COMPARE[flag.removesuffix("u")](a, b))

    return form.result(values, "pred")


def _select(form: Form) -> Execute:
    form.allow_flags()
    if_true, if_false, condition = form.source(1), form.source(2), form.source(3, "pred")
    return form.result(lambda warp: np.where(condition(warp), if_true(warp), if_false(warp)))


def _convert(form: Form) -> Execute:
    """``cvt``: convert rounding to nearest (rn), to an integer towards zero (rzi), or round down (rmi)."""
    new, old = form.kinds
    if new in ("f16x2", "bf16x2") and old == "f32" and form.flags == {"rn"}:
        return _convert_pair(form, new.removesuffix("x2"), old)
    source = form.source(1, old)
    if (new, old) == ("f32", "f32") and form.flags in ({"rmi"}, {"rmi", "ftz"}):
        return form.result(
            lambda warp: np.floor(_without_denormals(source(warp)) if "ftz" in form.flags else source(warp)), new
        )
    if new in ("s32", "u32") and old in ("f32", "f64") and form.flags == {"rzi"}:
        return form.result(lambda warp: _towards_zero(source(warp), new), new)
    if (new, old) == ("s64", "f64") and form.flags == {"rzi"}:
        return form.result(lambda warp: _within_int64(np.trunc(source(warp))).astype(np.int64), new)
    if form.flags != _ROUNDING.get((new, old), None if is_float(new) or is_float(old) else set()):
        raise form.unknown()
    return form.result(source, new)


#: The flags of conversions by (new type, old type): "rn" for those that round, none for exact ones.
_ROUNDING: dict[tuple[str, str], set[str]] = {
    **{(new, old): {"rn"} for new in ("f32", "f64") for old in ("s16", "u16", "s32", "u32", "s64", "u64")},
    **{("f32", "f64"): {"rn"}, ("f16", "f32"): {"rn"}, ("bf16", "f32"): {"rn"}},
    **{("f32", "f16"): set(), ("f32", "bf16"): set(), ("f64", "f32"): set()},
}


def _without_denormals(value: np.ndarray) -> np.ndarray:
    return np.where(np.abs(value) < np.finfo(np.float32).tiny, np.copysign(np.float32(0), value), value)


def _towards_zero(value: np.ndarray, kind: str) -> np.ndarray:
    """Return integers of a type, rounded towards zero and saturated. NaN gives 0 for float32, 2**31 for float64."""
    limits = np.iinfo(number_type(kind))
    whole = np.clip(np.trunc(np.nan_to_num(value.astype(np.float64))), limits.min, limits.max).astype(np.int64)
    return np.where(np.isnan(value), 2**31 if value.dtype == np.float64 else 0, whole)


def _within_int64(value: np.ndarray) -> np.ndarray:
    """Return the value; raise an error for NaN and for values that int64 cannot represent."""
    if not (np.abs(value) < 2**63).all():
        raise NotImplementedError(f"conversion of {value} to s64")
    return value


def _convert_pair(form: Form, new: str, old: str) -> Execute:
    high, low = form.source(1, old), form.source(2, old)

    def values(warp: Warp) -> np.ndarray:
        halves = [bits(source(warp), new) for source in (low, high)]
        return np.stack(halves, axis=1).view(np.uint32)[:, 0]

    return form.result(values, "b32")


ARITHMETIC: dict[str, Callable[[Form], Execute]] = {
    "abs": elementwise(np.abs),
    "add": _add,
    "cvt": _convert,
    "div": _divide(_quotient),
    "ex2": _power_of_two,
    "mad": _multiply,
    "max": _extreme,
    "min": _extreme,
    "mul": _multiply,
    "neg": elementwise(np.negative),
    "rem": _divide(_remainder),
    "selp": _select,
    "setp": _compare,
    "sqrt": _square_root,
    "sub": _add,
}
