"""Targets: met, missed, or not measured."""

from __future__ import annotations

import pytest

from benchmarks.report.claim import claim
from benchmarks.report.rows import Results, Row
from benchmarks.report.targets import at_rate, faster, part_below, targets, within
from tests.benchmarks.report.made_up import CPU, GPU, race, row


@pytest.mark.parametrize(("seconds", "met"), [(0.32, True), (0.31, False)])
def test_a_speed_up_at_its_threshold(seconds: float, met: bool) -> None:
    slow, fast = race("ODG", "uint8", None, seconds), race("ours", "uint8", "bool", 0.032)
    outcome = faster(slow, fast, 10)
    assert outcome is not None
    assert outcome.met is met
    assert outcome.keys == f"`{slow['key']}`/`{fast['key']}`"


def test_a_share_at_its_threshold() -> None:
    copy = row("limits", {"n": 1}, 1.0, bytes_moved=1000)
    for bytes_moved, met in ((700, True), (699, False)):
        outcome = at_rate(row("throughput", {"n": 1}, 1.0, bytes_moved=bytes_moved), copy, 0.7)
        assert outcome is not None
        assert outcome.met is met


def test_a_time_at_its_limit() -> None:
    for seconds, met in ((8e-6, True), (8.01e-6, False)):
        outcome = within(row("latency", {"n": 1}, seconds), 8e-6)
        assert outcome is not None
        assert outcome.met is met


@pytest.mark.parametrize(("seconds", "met"), [(0.0199, True), (0.02, False)])
def test_a_part_at_its_limit(seconds: float, met: bool) -> None:
    part, whole = row("training stages", {"n": 1}, seconds), row("training", {"n": 1}, 1.0)
    outcome = part_below(part, whole, 0.02)
    assert outcome is not None
    assert outcome.met is met
    assert outcome.keys == f"`{part['key']}`/`{whole['key']}`"


def test_nothing_comes_of_nothing() -> None:
    some = race("ours", "uint8", "bool", 1.0)
    assert faster(None, some, 1) is None
    assert faster(some, None, 1) is None
    assert at_rate(some, None, 1) is None
    assert part_below(None, some, 1) is None
    assert part_below(some, None, 1) is None
    assert within(None, 1) is None


def cpu_rows(published: float, odg: float, emulator: float, floats: float) -> list[Row]:
    """Rows in which uint8 → bool takes 1 s."""
    return [
        race("ours", "uint8", "bool", 1.0),
        race("ours", "uint8", "float32", 2.0),
        race("ours", "float32", "float32", 1.0),
        race("published", "uint8", "float32", published),
        race("published", "float32", "float32", floats),
        race("ODG", "uint8", None, odg),
        race("emulator", "uint8", None, emulator),
    ]


def verdicts(rows: list[Row]) -> list[str]:
    text = list(targets(Results(rows)))[1]
    return [line.rstrip(" |").rpartition(" ")[2] for line in text.splitlines()[2:]]


def test_the_targets_of_a_cpu() -> None:
    assert verdicts(cpu_rows(60, 10, 80, 8))[:5] == ["met"] * 5
    assert verdicts(cpu_rows(59, 9.9, 79, 7.9))[:5] == ["met", "missed", "missed", "missed", "missed"]
    assert verdicts(cpu_rows(24, 10, 80, 8))[0] == "missed"


def data_set_rows(published: float, whole: float, images: int = 60_000) -> list[Row]:
    """Rows in which the two stages of an image take 1 s together."""
    case = {"data": "CIFAR-10", "size": 128}
    return [
        row("data set stages", {**case, "stage": "read"}, 1.0, images=4),
        row("data set stages", {**case, "stage": "convert"}, 3.0, images=4),
        row("data set", {**case, "method": "published", "workers": None}, published),
        row("data set", {**case, "method": "i2e dataset", "workers": 2}, whole, images=images),
    ]


def test_the_targets_of_a_data_set() -> None:
    assert verdicts(data_set_rows(5.0, 60.0))[5:7] == ["met", "met"]
    assert verdicts(data_set_rows(4.9, 61.0))[5:7] == ["missed", "missed"]
    assert verdicts(data_set_rows(5.0, 1.0, images=4096))[5:7] == ["met", "measured"]


def augmentation_row(method: str, format: str, seconds: float, device: str = CPU, result: str = "new") -> Row:
    return row("augmentation", {"method": method, "format": format, "result": result}, seconds, device=device)


def test_the_targets_of_augmentation() -> None:
    rows = [augmentation_row("ours", format, 1.0) for format in ("float32", "bool", "packed")]
    each = "torchvision, image by image"
    rows += [augmentation_row(each, "float32", 4.9), augmentation_row(each, "bool", 5.0)]
    rows += [augmentation_row("ours", "float32", 1.0, result="out")]
    rows += [augmentation_row(each, "float32", 5.0, result="out")]
    assert verdicts(rows)[7:] == ["missed", "met", "measured", "measured", "met", "measured", "measured", "measured"]
    rows = [row("limits", {"method": "copy", "bytes": 1000}, 1.0, device=GPU, bytes_moved=1000)]
    for format, ours, alone in (("float32", 1.3, 1.0), ("bfloat16", 1.2, 0.9)):  # made-up rows move 1000 bytes
        rows.append(augmentation_row("ours", format, ours, GPU))
        rows.append(augmentation_row("conversion alone", format, alone, GPU))
    text = list(targets(Results(rows)))[3]
    found = [line.rstrip(" |").rpartition(" ")[2] for line in text.splitlines() if "| augmented" in line]
    assert found == ["missed", "met", "met", "missed"]


def test_the_targets_of_a_gpu() -> None:
    rows = [
        row("limits", {"method": "copy", "bytes": 1000}, 1.0, device=GPU, bytes_moved=1000),
        row("limits", {"method": "copy", "input": "uint8", "format": "bool"}, 0.1, device=GPU, bytes_moved=1000),
        row(
            "throughput",
            {"mode": "graph", "input": "uint8", "format": "bool", "batch": 128, "size": 224},
            1.0,
            device=GPU,
            bytes_moved=710,
        ),
        row("latency", {"face": "host", "input": "uint8", "format": "bool", "size": 224}, 41e-6, device=GPU),
        race("published, tf32", "float32", "float32", 25.0, GPU),
        race("published, compiled, tf32", "float32", "float32", 2.0, GPU),
        race("ours", "float32", "float32", 1.0, GPU),
        row("training", {"loop": "ours"}, 1.0, device=GPU),
        row("training", {"loop": "published"}, 1.9, device=GPU),
        row("training stages", {"loop": "ours", "stage": "conversion"}, 0.01, device=GPU),
        row("training stages", {"loop": "published", "stage": "conversion"}, 0.1, device=GPU),
    ]
    text = list(targets(Results(rows)))[3]
    outcomes = dict(line.strip("| ").split(" | ") for line in text.splitlines()[2:])
    assert outcomes["uint8 → bool: 70% of the rate of a copy"].startswith("71% ")
    assert outcomes["uint8 → bool: 70% of the rate of a copy"].endswith(": met")
    assert outcomes["uint8 → packed: 40% of the rate of a copy"] == "not measured"
    assert outcomes["float32 → float32: 20× the published formulation, tf32"].endswith(": met")
    assert outcomes["float32 → float32: 3× its compiled form, tf32"].endswith(": missed")
    assert outcomes["float32 → float32: 20× the published formulation"] == "not measured"
    assert outcomes["one image, uint8 → bool, without: 40 µs"].startswith("41.0 µs ")
    assert outcomes["one image, uint8 → bool, without: 40 µs"].endswith(": missed")
    assert outcomes["training: conversion below 2% of a step"].startswith("1.0% ")
    assert outcomes["training: conversion below 2% of a step"].endswith(": met")
    assert outcomes["training: 2× the published loop"].startswith("1.90× ")
    assert outcomes["training: 2× the published loop"].endswith(": missed")


def test_the_claim_follows_from_the_rows() -> None:
    text = "\n".join(claim(Results(cpu_rows(20, 10, 80, 8))))
    assert "which makes 295×" in text
    assert "which makes 982×" in text
    assert "the published formulation is 2.00× slower than ODG" in text
    assert "this package, uint8 → float32 is 5.00× as fast as ODG and does not reach 300×" in text
    assert "where it is not measured" in text


def test_the_claim_on_a_gpu() -> None:
    rows = [
        race("ours", "uint8", "bool", 0.001, GPU),
        race("ours", "uint8", "float32", 0.004, GPU),
        race("published, tf32", "uint8", "float32", 0.1, GPU),
        race("ODG", "uint8", None, 1.2, GPU),
    ]
    text = "\n".join(claim(Results(rows)))
    assert f"On {GPU}: the published formulation is 12.0× as fast as ODG and does not reach 300×" in text
    assert "uint8 → float32 is 300× as fast as ODG and reaches 300×" in text
    assert "uint8 → bool is 1,200× as fast as ODG and reaches 300×" in text
    assert "not measured" not in text
    assert CPU not in text
