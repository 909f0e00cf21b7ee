"""The report: every ratio from two rows of one device, and nothing that was not measured."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness.workload import event_bytes, image_bytes
from benchmarks.report.__main__ import report
from benchmarks.report.markdown import NOT_MEASURED
from benchmarks.report.rows import Results, Row, rate_share, speed_up
from benchmarks.report.sections import AUGMENTATION_METHODS, AUGMENTATION_RESULTS
from tests.benchmarks.report.made_up import CPU, GPU, race, row

PAIRS = [(i, f) for i in ("uint8", "float32") for f in ("float32", "bfloat16", "uint8", "bool", "packed")]


def moved(input: str, format: str, batch: int) -> int:
    return image_bytes(batch, 224, input) + event_bytes(batch, 224, format)


def rows_of(device: str) -> list[Row]:
    """A row for each case of a device, no two times alike."""
    cuda = device == GPU
    mode, batch = ("graph", 128) if cuda else ("eager", 64)
    rows = [race("ours", i, f, 1e-3 * (n + 1), device, bytes_moved=moved(i, f, 32), peak_memory=9 * 10**7)
            for n, (i, f) in enumerate(PAIRS)]  # fmt: skip
    rows += [race("published", i, "float32", 0.2 + 0.01 * len(i), device) for i in ("uint8", "float32")]
    rows += [race("ODG", "uint8", None, 0.05, device, bytes_moved=None)]
    rows += [race("emulator", "uint8", None, 0.5, device, bytes_moved=None)]
    for n, (i, f) in enumerate(PAIRS):
        case = {"input": i, "format": f, "batch": batch, "size": 224}
        for b in (1, batch):
            more: dict[str, Any] = {"device": device, "images": b, "bytes_moved": moved(i, f, b)}
            rows.append(row("throughput", {**case, "batch": b, "mode": mode}, 1e-4 * b * (n + 1), **more))
        for side in (32, 512):
            sweep = {"input": i, "format": f, "batch": 4, "size": side, "mode": mode}
            rows.append(row("throughput", sweep, 1e-8 * side * side * (n + 1), device=device, images=4))
        copied: dict[str, Any] = {"device": device, "images": batch, "bytes_moved": moved(i, f, batch)}
        rows.append(row("limits", {"method": "copy", **case}, 1e-4 * (n + 2), **copied))
        rows.append(row("latency", {"face": "finished", "input": i, "format": f, "size": 224}, 1e-5, device=device))
    for n, f in enumerate(dict.fromkeys(f for _, f in PAIRS)):
        zeros = {"method": "memset", "format": f, "batch": batch, "size": 224}
        rows.append(row("limits", zeros, 1e-5 * (n + 3), device=device, images=batch))
    for n, stage in enumerate(("decode", "resize", "stack", "convert", "all")):
        files = {"files": "png", "stage": stage, "format": "bool", "batch": 16, "size": 224}
        rows.append(row("end to end", files, 1e-2 * (n + 1), device=device, images=16, bytes_moved=None))
    for stage, seconds in (("convert", 0.1), ("read", 0.3)):
        case = {"data": "CIFAR-10", "stage": stage, "batch": 100, "size": 128}
        rows.append(row("data set stages", case, seconds, device=device, images=100, bytes_on_disk=430_000))
    for n, method in enumerate(AUGMENTATION_METHODS):
        for m, (result, f) in enumerate(product(AUGMENTATION_RESULTS, ("float32", "bool"))):
            case = {"method": method, "format": f, "result": result, "batch": 128, "raw": 32, "size": 128}
            rows.append(row("augmentation", case, 0.0128 * (n + 1) * (m + 1), device=device, images=128))
    whole = {"data": "CIFAR-10", "method": "i2e dataset", "size": 128, "workers": 2}
    rows.append(row("data set", whole, 30.0, device=device, images=60_000))
    for loop, seconds, parts in (("ours", 2.0, (1.2, 0.04)), ("published", 3.0, (2.4, 0.3))):
        step = {"loop": loop, "model": "resnet18", "precision": "float32", "batch": 4, "size": 128}
        rows.append(row("training", step, seconds, device=device, images=4, peak_memory=int(1e9 * seconds)))
        for stage, part in zip(("backward", "conversion"), parts):
            rows.append(row("training stages", {**step, "stage": stage}, part, device=device, images=4))
    return rows + (gpu_rows() if cuda else cpu_rows())


def cpu_rows() -> list[Row]:
    rows = []
    for n in (1, 2):
        threads = {"method": "ours", "input": "uint8", "format": "bool", "threads": n, "batch": 32, "size": 224}
        rows.append(row("threads", threads, 1e-3 / n, images=32))
        rows.append(row("workers", {"convert": "nowhere", "workers": n, "batch": 32, "size": 224}, 0.1 / n, images=64))
    return rows


def gpu_rows() -> list[Row]:
    large = row("limits", {"method": "copy", "bytes": 2 * 10**9}, 1e-3, device=GPU, images=0, bytes_moved=2 * 10**9)
    compiled = race("published, compiled", "float32", "float32", 0.03, GPU, differing=0.25)
    return [large, compiled]


def written(rows: list[Row], folder: Path) -> str:
    return report(Results(rows), "MACHINE CODE", folder / "plots")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Row]]:
    """A report of a CPU and a GPU, and its rows by key."""
    rows = rows_of(CPU) + rows_of(GPU)
    return written(rows, tmp_path_factory.mktemp("report")), {row["key"]: row for row in rows}


def test_every_ratio_is_that_of_its_two_rows(both: tuple[str, dict[str, Row]]) -> None:
    text, rows = both
    found = re.findall(r"([\d,.]+)× `(\w+)`/`(\w+)`", text)
    assert len(found) > 60
    for value, slow, fast in found:
        assert rows[slow]["device"] == rows[fast]["device"]
        assert float(value.replace(",", "")) == pytest.approx(speed_up(rows[slow], rows[fast]), rel=6e-3)


def test_the_columns_of_speed_ups_are_the_formats_that_they_name(both: tuple[str, dict[str, Row]]) -> None:
    text, rows = both
    for device in (CPU, GPU):
        section = text.split("## Speed-up over other methods")[1].split(f"### {device}")[1].split("![")[0]
        lines = [line for line in section.splitlines() if line.startswith("|") and "`/`" in line]
        assert len(lines) == (5 if device == GPU else 4)
        for line in lines:
            slow, fast = ([rows[pair[at]] for pair in re.findall(r"`(\w+)`/`(\w+)`", line)] for at in (0, 1))
            assert [row["case"]["format"] for row in fast] == ["float32", "bool", "packed"]
            assert [row["case"]["method"] for row in fast] == ["ours"] * 3
            assert line.startswith(f"| {slow[0]['case']['method']}")
            assert {row["case"]["input"] for row in fast} == {row["case"]["input"] for row in slow}


def test_every_share_is_that_of_its_two_rows(both: tuple[str, dict[str, Row]]) -> None:
    text, rows = both
    found = re.findall(r"([\d.]+)% `(\w+)`/`(\w+)`", text)
    rates, parts = 0, 0
    for value, one, other in found:
        assert rows[one]["device"] == rows[other]["device"]
        if rows[other]["suite"] == "limits":
            rates += 1
            assert float(value) == pytest.approx(100 * rate_share(rows[one], rows[other]), abs=0.51)
        else:
            parts += 1
            assert float(value) == pytest.approx(100 * speed_up(rows[one], rows[other]), abs=0.051)
    assert rates > 30
    assert parts == 8 + 8 + 1, "four stages from files and four of training, on each device; a target of the GPU"


def test_every_ratio_names_rows(both: tuple[str, dict[str, Row]]) -> None:
    """Nothing that looks like a ratio stands alone, but for the paper's claim and what is concluded from its table."""
    text, _ = both
    tables = [line for line in text.splitlines() if line.startswith("|")]
    cells = [cell.strip() for line in tables for cell in line.split("|")]
    bare = [cell for cell in cells if re.fullmatch(r"[\d,.]+(×|%)", cell)]
    assert bare == []


def test_times_are_by_the_image(both: tuple[str, dict[str, Row]]) -> None:
    text, _ = both
    assert re.search(r"\| ODG \| 1\.56 ms ± 156 µs `\w{8}` \|", text)


def test_tables_hold_what_their_rows_say(both: tuple[str, dict[str, Row]]) -> None:
    text, _ = both
    assert "| uint8 → bool | 400 µs | 400 µs |" in text.split("## Throughput")[1]
    assert "| uint8 → bool | 10.0 ns | 7.97 ns | 10.0 ns |" in text.split("## Cost of a pixel")[1]
    # 90 MB for 32 images, of which a byte for each of 8 timesteps, 2 polarities and 224 × 224 pixels is events.
    assert "| this package, uint8 → bool | 2.81 MB | 803 kB | 2.01 MB |" in text.split("## Memory")[1]
    assert "| uint8 → bool | 10.0 µs ± 1.00 µs `" in text.split("## Latency of one image")[1]
    stages = text.split("## A data set to events")[1]
    assert re.findall(r"\| (read|convert|their sum) \| ([\d.]+ ms).*\| ([\d%]*).*\|", stages)[:3] == [
        ("read", "3.00 ms", "75%"),
        ("convert", "1.00 ms", "25%"),
        ("their sum", "4.00 ms", ""),
    ]
    assert "to Parquet at 128×128: 4,300 bytes an image." in stages
    assert "| i2e dataset, 2 workers: CIFAR-10 | 60,000 | 30.0 s | 500 µs" in stages


def test_training_and_its_stages(both: tuple[str, dict[str, Row]]) -> None:
    text, _ = both
    section = re.sub(r" ± [\d.]+ m?s| `\w+`(/`\w+`)?", "", text.split("## Training")[1].split("### Test GPU")[0])
    assert "batches of 4 photographs of 128×128" in section
    for line in (
        "| this package's loop, float32 | 2.00 | 500 ms | 1.50× | 2.00 GB |",
        "| the published loop, float32 | 1.33 | 750 ms |  | 3.00 GB |",
        "| conversion | 10.0 ms | 2.0% | 75.0 ms | 10.0% |\n| backward | 300 ms | 60.0% | 600 ms | 80.0% |",
    ):
        assert line in section


def test_augmentation_is_raced_format_by_format(both: tuple[str, dict[str, Row]]) -> None:
    text, rows = both
    section = text.split("## Augmentation")[1].split("\n## ")[0]
    time = r"{} µs ± {}.0 µs `\w{{8}}`"
    for where, times in zip(AUGMENTATION_RESULTS.values(), ((200, 400), (600, 800))):
        cells = r" \| ".join(time.format(t, t // 10) for t in times)
        found = re.findall(rf"Events {where}:\n\n(?:\|.*\n)*\| torchvision, image by image \| {cells} \|", section)
        assert len(found) == 2, "a CPU and a GPU"
    lines = re.findall(r"\| torchvision, image by image \| 2\.00× `(\w+)`/`(\w+)` \| 2\.00× `(\w+)`/`(\w+)`", section)
    for keys in lines:
        cases = [rows[key]["case"] for key in keys]
        assert [case["format"] for case in cases] == ["float32", "float32", "bool", "bool"]
        assert [case["method"] for case in cases] == ["torchvision, image by image", "ours"] * 2
        assert len({case["result"] for case in cases}) == 1
    assert len(lines) == 4


def test_what_was_not_measured_is_said_not_to_be(tmp_path: Path) -> None:
    text = written(rows_of(CPU), tmp_path)
    gpu_targets = text.split("On an H100 or H200")[1].split("##")[0]
    assert gpu_targets.count(NOT_MEASURED) == 18
    assert "| on a GPU | not measured | not measured |" in text
    assert "The claim is of a GPU, where it is not measured" in text
    sections = text.split("\n## ")[3:-2]
    assert len(sections) == 11
    assert all("On a GPU: not measured." in section for section in sections)


def test_a_gap_is_written_as_not_measured(tmp_path: Path) -> None:
    rows = [row for row in rows_of(CPU) if row["case"].get("method") != "ODG"]
    text = written(rows, tmp_path)
    assert "| uint8 → bool: 10× ODG | not measured |" in text
    assert f"| {CPU}: ODG | not measured |" in text
    assert f"{CPU}: not measured in full." in text


def test_one_row_alone_makes_a_report(tmp_path: Path) -> None:
    text = written([race("ours", "uint8", "bool", 1.0)], tmp_path)
    assert "| this package, uint8 → bool | 31.2 ms ± 3.12 ms `" in text
    assert "Not measured." in text
    assert "![" not in text, "no plot of nothing"


def test_no_rows_at_all(tmp_path: Path) -> None:
    text = written([], tmp_path)
    assert "25× the published formulation | not measured |" in text
    assert "MACHINE CODE" in text


def test_all_rows_are_listed_once_with_their_keys(both: tuple[str, dict[str, Row]]) -> None:
    text, rows = both
    listed = re.findall(r"^\| `(\w{8})` \|", text.split("\n## Rows")[1], flags=re.MULTILINE)
    assert sorted(listed) == sorted(rows)


def test_devices_with_their_versions_and_commits(tmp_path: Path) -> None:
    rows = rows_of(CPU)
    rows[0] |= {"date": "2026-02-03T00:00:00+00:00", "commit": "fedcba9876543210", "dirty": True, "load": 3.25}
    line = next(line for line in written(rows, tmp_path).splitlines() if line.startswith(f"| {CPU} |"))
    for part in (
        "2.99.0",
        "3.99.0",
        "3.12.1",
        "2026-01-02 to 2026-02-03",
        "01234567, fedcba98 with changes",
        "0.5 to 3.25",
    ):
        assert f"| {part} |" in line
    assert line.endswith(f"| {len(rows)} |")


def test_events_that_differ_are_confessed(both: tuple[str, dict[str, Row]]) -> None:
    text, _ = both
    assert "published, compiled, from float32: 25.00% of its events are not the specification's" in text


def test_every_plot_is_there_and_used(tmp_path: Path) -> None:
    text = written(rows_of(CPU) + rows_of(GPU), tmp_path)
    used = re.findall(r"\]\((plots/[^)]+)\)", text)
    assert len(used) == 10
    assert sorted(used) == sorted(f"plots/{path.name}" for path in (tmp_path / "plots").iterdir())


def test_a_report_and_its_plots_depend_on_the_rows_alone(tmp_path: Path) -> None:
    rows = rows_of(CPU)
    assert written(rows, tmp_path / "a") == written(rows, tmp_path / "b")
    for path in (tmp_path / "a" / "plots").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / "plots" / path.name).read_bytes()
        assert path.stat().st_size < 60_000
