"""The targets that this package sets itself, and what has been measured of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from benchmarks.report.markdown import NOT_MEASURED, duration, significant, table
from benchmarks.report.rows import Results, Row, rate_share, seconds_an_image, speed_up
from benchmarks.report.sections import AUGMENTATION_RESULTS

_SIZE = 224


@dataclass(frozen=True)
class Outcome:
    """What a target came to: its value, as a reader writes it, whether that meets it, and the keys of its rows."""

    value: str
    met: bool
    keys: str


def targets(results: Results) -> Iterator[str]:
    """Tables of the targets on each kind of device."""
    yield "On a CPU, one thread, a batch of 32 photographs of 224×224:"
    yield _table(results, "cpu", _cpu_outcomes)
    yield "On an H100 or H200, 128 images of 224×224, in training of 128×128:"
    yield _table(results, "cuda", _gpu_outcomes)


def _table(results: Results, kind: str, outcomes: Any) -> str:
    devices = results.devices(kind)
    columns = [dict(outcomes(results, device)) for device in devices or [""]]
    body = [[name, *(_cell(column[name]) for column in columns)] for name in columns[0]]
    return table(["target", *(devices or ["measured"])], body)


def _cell(outcome: Outcome | None) -> str:
    if outcome is None:
        return NOT_MEASURED
    return f"{outcome.value} {outcome.keys}: {'met' if outcome.met else 'missed'}"


def _cpu_outcomes(results: Results, device: str) -> Iterator[tuple[str, Outcome | None]]:
    def race(**case: Any) -> Row | None:
        return results.find(device, "races", content="photographs", **case)

    events = race(method="ours", input="uint8", format="bool")
    floats = race(method="ours", input="float32", format="float32")
    yield "uint8 → bool: 25× the published formulation", faster(race(method="published", input="uint8"), events, 25)
    yield "and as a goal 60×", faster(race(method="published", input="uint8"), events, 60)
    yield "uint8 → bool: 10× ODG", faster(race(method="ODG"), events, 10)
    yield "uint8 → bool: 80× the emulator", faster(race(method="emulator"), events, 80)
    yield (
        "float32 → float32: 8× the published formulation",
        faster(race(method="published", input="float32"), floats, 8),
    )
    published = results.find(device, "data set", data="CIFAR-10", method="published")
    stages = results.select(device, "data set stages", data="CIFAR-10")
    yield "CIFAR-10 to events on disk: 5× the published way, a core", all_stages_faster(published, stages, 5)
    command = results.find(device, "data set", data="CIFAR-10", method="i2e dataset", workers=2)
    yield "60,000 images of it at 128×128 with 2 workers: 60 s", all_within(command, 60_000, 60)
    for format, (result, where) in product(("float32", "bfloat16", "bool", "packed"), AUGMENTATION_RESULTS.items()):
        case = {"format": format, "result": result}
        each = results.find(device, "augmentation", method="torchvision, image by image", **case)
        ours = results.find(device, "augmentation", method="ours", **case)
        yield (
            f"augmented 32×32 → {format} of 128×128 {where}: 5× torchvision and a conversion, each image",
            faster(each, ours, 5),
        )


def _gpu_outcomes(results: Results, device: str) -> Iterator[tuple[str, Outcome | None]]:
    large = next((row for row in results.select(device, "limits", method="copy") if "bytes" in row["case"]), None)
    for input, format, share in (
        ("float32", "float32", 0.9),
        ("uint8", "float32", 0.9),
        ("uint8", "bfloat16", 0.85),
        ("uint8", "bool", 0.7),
        ("uint8", "packed", 0.4),
    ):
        row = results.find(device, "throughput", mode="graph", input=input, format=format, batch=128, size=_SIZE)
        yield f"{input} → {format}: {share:.0%} of the rate of a copy", at_rate(row, large, share)

    def race(**case: Any) -> Row | None:
        return results.find(device, "races", content="photographs", **case)

    floats = race(method="ours", input="float32", format="float32")
    for tf32 in ("", ", tf32"):
        published = race(method=f"published{tf32}", input="float32")
        compiled = race(method=f"published, compiled{tf32}", input="float32")
        yield f"float32 → float32: 20× the published formulation{tf32}", faster(published, floats, 20)
        yield f"float32 → float32: 3× its compiled form{tf32}", faster(compiled, floats, 3)
    yield (
        "uint8 → bool: 3,000× ODG",
        faster(race(method="ODG"), race(method="ours", input="uint8", format="bool"), 3000),
    )
    for name, face, limit in (("with a CUDA graph: 8 µs", "graph, device", 8e-6), ("without: 40 µs", "host", 40e-6)):
        row = results.find(device, "latency", face=face, input="uint8", format="bool")
        yield f"one image, uint8 → bool, {name}", within(row, limit)
    for format in ("float32", "bfloat16"):
        ours = results.find(device, "augmentation", method="ours", format=format, result="new")
        alone = results.find(device, "augmentation", method="conversion alone", format=format, result="new")
        yield f"augmented 32×32 → {format} of 128×128: 80% of the rate of a copy", at_rate(ours, large, 0.8)
        yield f"augmented → {format}: at most 1.3× the time of a conversion alone", faster(alone, ours, 1 / 1.3)
    step = results.find(device, "training", loop="ours")
    conversion = results.find(device, "training stages", loop="ours", stage="conversion")
    yield "training: conversion below 2% of a step", part_below(conversion, step, 0.02)
    yield "training: 2× the published loop", faster(results.find(device, "training", loop="published"), step, 2)


def faster(slow: Row | None, fast: Row | None, times: float) -> Outcome | None:
    """Whether one row is so many times as fast as another."""
    if slow is None or fast is None:
        return None
    value = speed_up(slow, fast)
    return Outcome(f"{significant(value)}×", value >= times, f"`{slow['key']}`/`{fast['key']}`")


def all_stages_faster(slow: Row | None, stages: list[Row], times: float) -> Outcome | None:
    """Whether all stages together are so many times as fast as one row."""
    if slow is None or not stages:
        return None
    value = seconds_an_image(slow) / sum(map(seconds_an_image, stages))
    keys = "+".join(f"`{row['key']}`" for row in stages)
    return Outcome(f"{significant(value)}×", value >= times, f"`{slow['key']}`/({keys})")


def all_within(row: Row | None, images: int, most: float) -> Outcome | None:
    """Whether so many images take no longer than this together."""
    if row is None or row["images"] != images:
        return None
    return Outcome(duration(row["median_s"]), row["median_s"] <= most, f"`{row['key']}`")


def at_rate(row: Row | None, limit: Row | None, least: float) -> Outcome | None:
    """Whether a row reaches a share of a limit's rate."""
    if row is None or limit is None:
        return None
    value = rate_share(row, limit)
    return Outcome(f"{value:.0%}", value >= least, f"`{row['key']}`/`{limit['key']}`")


def part_below(part: Row | None, whole: Row | None, most: float) -> Outcome | None:
    """Whether one row takes less than a part of the time of another."""
    if part is None or whole is None:
        return None
    value = speed_up(part, whole)
    return Outcome(f"{value:.1%}", value < most, f"`{part['key']}`/`{whole['key']}`")


def within(row: Row | None, most: float) -> Outcome | None:
    """Whether an image takes no longer than this."""
    if row is None:
        return None
    return Outcome(duration(seconds_an_image(row)), seconds_an_image(row) <= most, f"`{row['key']}`")
