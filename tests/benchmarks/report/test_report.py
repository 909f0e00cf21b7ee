"""The numbers of the report are those of the rows, and each ratio compares two rows of one device."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness.rows import DeviceRows, Row, bandwidth_ratio, speed_up
from benchmarks.harness.workload import AUGMENTATION_METHODS, PAIRS, READING_METHODS, event_bytes, image_bytes
from benchmarks.report.__main__ import report, roofline
from benchmarks.report.plots import Plots
from benchmarks.report.sections import SECTIONS
from benchmarks.roofline.estimate import H100, copy_seconds, issue_seconds, kernel_costs
from tests.benchmarks.builders import CPU, GPU, comparison, row

NOT_MEASURED = "not measured"


def moved(input: str, format: str, batch: int) -> int:
    return image_bytes(batch, 224, input) + event_bytes(batch, 224, format)


def rows_of(device: str) -> list[Row]:
    """Return rows of all suites for a device, with different times."""
    cuda = device == GPU
    mode, batch = ("graph", 128) if cuda else ("eager", 64)
    rows = [
        comparison("ours", input, format, 1e-3 * (n + 1), device, bytes_moved=moved(input, format, 32))
        for n, (input, format) in enumerate(PAIRS)
    ]
    for input in ("uint8", "float32"):
        rows.append(comparison("official", input, "float32", 0.2 + 0.01 * len(input), device, differing=0.0))
    for method, seconds in (("ODG", 0.05), ("emulator", 0.5)):
        rows.append(comparison(method, "uint8", None, seconds, device, bytes_moved=None))
    for n, (input, format) in enumerate(PAIRS):
        case = {"input": input, "format": format, "batch": batch, "size": 224}
        for b in (1, batch):
            more: dict[str, Any] = {"device": device, "images": b, "bytes_moved": moved(input, format, b)}
            rows.append(row("throughput", {**case, "batch": b, "mode": mode}, 1e-4 * b * (n + 1), **more))
        for side in (32, 512):
            sweep = {"input": input, "format": format, "batch": 4, "size": side, "mode": mode}
            rows.append(row("throughput", sweep, 1e-8 * side * side * (n + 1), device=device, images=4))
        copied: dict[str, Any] = {"device": device, "images": batch, "bytes_moved": moved(input, format, batch)}
        rows.append(row("limits", {"method": "copy", **case}, 1e-4 * (n + 2), **copied))
        rows.append(
            row("latency", {"clock": "finished", "input": input, "format": format, "size": 224}, 1e-5, device=device)
        )
    for n, format in enumerate(dict.fromkeys(format for _, format in PAIRS)):
        zeros = {"method": "memset", "format": format, "batch": batch, "size": 224}
        rows.append(row("limits", zeros, 1e-5 * (n + 3), device=device, images=batch))
    for n, stage in enumerate(("decode", "resize", "stack", "convert", "all")):
        files = {"files": "png", "stage": stage, "format": "bool", "batch": 16, "size": 224}
        rows.append(row("end to end", files, 1e-2 * (n + 1), device=device, images=16, bytes_moved=None))
    for stage, seconds in (("convert", 0.1), ("read", 0.3)):
        case = {"data": "CIFAR-10", "stage": stage, "batch": 100, "size": 128}
        rows.append(row("data set stages", case, seconds, device=device, images=100, bytes_on_disk=430_000))
    for n, method in enumerate(READING_METHODS):
        case = {"method": method, "bits": "packed", "compression": "zstd", "size": 128}
        rows.append(row("reading", case, 1.0, device=device, images=1000, cpu_s=0.05 - 0.01 * n))
    for method, seconds in (("convert", 0.01), ("ImageEventDataset", 0.02)):
        case = {"method": method, "vectors": "random", "format": "packed", "batch": 128, "size": 128}
        rows.append(row("on the fly", case, 1.0, device=device, images=128, cpu_s=seconds))
    for n, method in enumerate(AUGMENTATION_METHODS):
        for m, (result, format) in enumerate(product(("new", "out"), ("float32", "bool"))):
            case = {"method": method, "format": format, "result": result, "batch": 128, "raw": 32, "size": 128}
            rows.append(row("augmentation", case, 0.0128 * (n + 1) * (m + 1), device=device, images=128))
    for method, workers, seconds, images in (("i2e dataset", 2, 30.0, 60_000), ("official", None, 0.01, 4)):
        whole = {"data": "CIFAR-10", "method": method, "size": 128, "workers": workers}
        cpu = {"cpu_s": 1.5 * seconds} if workers else {}  # rows of earlier versions have none
        rows.append(row("data set", whole, seconds, device=device, images=images, **cpu))
    for method, part, seconds in (
        *(("official", "both", 0.1), ("ours", "both", 0.04)),
        *(("ours", "backward", 0.03), ("ours", "forward", 0.01)),
    ):
        case = {"method": method, "part": part, "batch": 10, "size": 224}
        rows.append(row("gradients", case, seconds, device=device, images=10, peak_memory=int(1e9 * seconds)))
    for loop, seconds, parts in (("ours", 2.0, (1.2, 0.04)), ("official", 3.0, (2.4, 0.3))):
        step = {"loop": loop, "model": "resnet18", "precision": "float32", "batch": 4, "size": 128}
        rows.append(row("training", step, seconds, device=device, images=4, peak_memory=int(1e9 * seconds)))
        for stage, seconds in zip(("backward", "conversion"), parts):
            rows.append(row("training stages", {**step, "stage": stage}, seconds, device=device, images=4))
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
    compiled = comparison("official, compiled", "float32", "float32", 0.03, GPU, differing=0.25)
    return [large, compiled, comparison("official, tf32", "uint8", "float32", 0.1, GPU)]


def report_of(rows: list[Row], folder: Path) -> str:
    return report(rows, folder / "plots", "ROOFLINE")


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return rows_of(CPU) + rows_of(GPU)


@pytest.fixture(scope="module")
def report_of_both(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the report of a CPU and a GPU."""
    return report_of(rows, tmp_path_factory.mktemp("report"))


def lines_of(text: str, device: str, title: str) -> list[list[str]]:
    """Return the lines of all tables in a section of the report on a device, as lists of cells."""
    section = text.split(f"\n## {device}\n")[1].split("\n## ")[0].split(f"### {title}\n")[1].split("### ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|") and not line.startswith("|-")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def number(cell: str) -> float:
    return float(cell.strip("()×%").replace(",", ""))


@pytest.mark.parametrize("device", [CPU, GPU])
def test_speed_ups_are_computed_from_rows_of_the_same_images(report_of_both: str, rows: list[Row], device: str) -> None:
    results = DeviceRows(device, rows)
    lines = [line for line in lines_of(report_of_both, device, "Speed-up over other methods") if len(line) == 5]
    assert lines[0] == ["method", "time per image", "speed-up → float32", "speed-up → bool", "events"]
    assert len(lines) == 1 + (6 if device == GPU else 4)
    for name, _, to_float, to_bool, _ in lines[1:]:
        method, input = re.fullmatch(r"(.+), (\w+) photographs", name).groups()  # type: ignore[union-attr]
        method = method.replace("official formulation", "official")
        slow = results.find("comparison", method=method, input=input)
        for cell, format in ((to_float, "float32"), (to_bool, "bool")):
            fast = results.find("comparison", method="ours", input=input, format=format)
            assert slow
            assert fast
            assert number(cell) == pytest.approx(speed_up(slow, fast), rel=6e-3)


@pytest.mark.parametrize("device", [CPU, GPU])
def test_bandwidth_is_compared_with_the_copy_of_the_same_size(
    report_of_both: str, rows: list[Row], device: str
) -> None:
    results = DeviceRows(device, rows)
    mode, batch = ("graph", 128) if device == GPU else ("eager", 64)
    lines = lines_of(report_of_both, device, "Share of the hardware's limits")
    assert len(lines) == 1 + len(PAIRS)
    for (input, format), (name, images, _, *shares, memset_times) in zip(PAIRS, lines[1:]):
        assert (name, images) == (f"{input} → {format}", str(batch))
        case = {"input": input, "format": format, "batch": batch, "size": 224}
        fast = results.find("throughput", mode=mode, **case)
        copies = [results.find("limits", method="copy", **case)]
        if device == GPU:
            copies.insert(0, results.find("limits", bytes=2 * 10**9))
        assert fast
        assert len(shares) == len(copies)
        for cell, copy in zip(shares, copies):
            assert copy
            assert number(cell) == pytest.approx(100 * bandwidth_ratio(fast, copy), abs=0.51)
        memset = results.find("limits", method="memset", format=format)
        assert memset
        assert number(memset_times) == pytest.approx(speed_up(fast, memset), rel=6e-3)


@pytest.mark.parametrize(("section", "columns"), [("others", [2, 3]), ("limits", [3])])
def test_bars_show_the_numbers_of_the_table(
    rows: list[Row], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, section: str, columns: list[int]
) -> None:
    plotted: dict[str, dict[str, float]] = {}

    def bars(
        self: Plots, name: str, alt: str, groups: dict[str, dict[str, float]], *label: str, log: bool = False
    ) -> str:
        plotted.update(groups)
        return ""

    monkeypatch.setattr(Plots, "bars", bars)
    lines = SECTIONS[section](DeviceRows(GPU, rows), Plots(tmp_path, GPU)).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert list(plotted) == [line[0] for line in cells]
    for line in cells:
        expected = [number(line[column].split(" ")[0]) for column in columns]
        assert list(plotted[line[0]].values()) == pytest.approx(expected, rel=6e-3, abs=0.51)


def test_tables_contain_the_values_of_the_rows(report_of_both: str) -> None:
    assert ["uint8 → bool", "10.0 µs ± 1.00 µs"] in lines_of(report_of_both, CPU, "Latency of one image")
    assert ["uint8 → bool", "400 µs", "400 µs"] in lines_of(report_of_both, CPU, "Throughput")
    assert ["uint8 → bool", "10.0 ns", "10.0 ns"] in lines_of(report_of_both, CPU, "Image size")
    # The peak is 90 MB for 32 images. The events of an image are 224 * 224 * 2 polarities * 8 timesteps * 1 byte.
    assert ["this package, uint8 → bool", "2.81 MB", "803 kB", "2.01 MB"] in lines_of(report_of_both, CPU, "Memory")
    threads = ["this package, uint8 → bool", "31.3 µs ± 3.13 µs (1.00×)", "15.6 µs ± 1.56 µs (2.00×)"]
    assert threads in lines_of(report_of_both, CPU, "Threads and DataLoader workers")
    assert ["resize", "1.25 ms ± 125 µs (40.0%)"] in lines_of(report_of_both, CPU, "From files to events")


def test_data_set_table_and_stages(report_of_both: str) -> None:
    lines = lines_of(report_of_both, CPU, "A data set to events")
    assert ["CIFAR-10, `i2e dataset --workers 2`", "60,000", "30.0 s", "500 µs ± 50.0 µs", "750 µs", "5.00×"] in lines
    assert ["CIFAR-10, official", "4", "10.0 ms", "2.50 ms ± 250 µs", NOT_MEASURED, "1.00×"] in lines
    assert lines[-3:] == [
        ["CIFAR-10", "read", "3.00 ms ± 300 µs", "75.0%", ""],
        ["CIFAR-10", "convert", "1.00 ms ± 100 µs", "25.0%", ""],
        ["CIFAR-10", "sum (images resized to 128×128)", "4.00 ms", "100.0%", "4,300"],
    ]


def test_reading_is_compared_with_pyarrow_and_with_convert(report_of_both: str) -> None:
    assert lines_of(report_of_both, CPU, "Reading") == [
        ["", "packed, zstd"],
        ["EventDataset", "50.0 µs (80%)"],
        ["pyarrow and a copy", "40.0 µs (100%)"],
        ["images per second", "→ packed"],
        ["ImageEventDataset, random vectors", "6,400"],
        ["convert, random vectors", "12,800"],
    ]


def test_augmentation_is_compared_by_format_and_result(report_of_both: str) -> None:
    lines = [line for line in lines_of(report_of_both, CPU, "Augmentation") if line[0] == "torchvision, image by image"]
    assert [line[1:] for line in lines] == [
        ["200 µs ± 20.0 µs (2.00×)", "400 µs ± 40.0 µs (2.00×)"],
        ["600 µs ± 60.0 µs (2.00×)", "800 µs ± 80.0 µs (2.00×)"],
    ]


def test_gradients_are_compared_with_the_conversion_and_with_autograd(report_of_both: str) -> None:
    assert lines_of(report_of_both, CPU, "Gradients") == [
        ["", "time per image", "time / time of the conversion", "peak memory"],
        ["this package, conversion", "1.00 ms ± 100 µs", "1.00×", "10.0 MB"],
        ["this package, gradients", "3.00 ms ± 300 µs", "3.00×", "30.0 MB"],
        ["this package, conversion and gradients", "4.00 ms ± 400 µs", "4.00×", "40.0 MB"],
        ["official formulation, conversion and gradients", "10.0 ms ± 1.00 ms", "10.0×", "100 MB"],
    ]


def test_training_table_and_stages(report_of_both: str) -> None:
    assert lines_of(report_of_both, CPU, "Training") == [
        ["", "batch", "images per second", "time per image", "speed-up over official", "peak memory"],
        ["this package, float32", "4 of 128×128", "2.00", "500 ms ± 50.0 ms", "1.50×", "2.00 GB"],
        ["official loop, float32", "4 of 128×128", "1.33", "750 ms ± 75.0 ms", "1.00×", "3.00 GB"],
        ["stage", "this package", "official loop"],
        ["conversion", "10.0 ms ± 1.00 ms (2.0%)", "75.0 ms ± 7.50 ms (10.0%)"],
        ["backward", "300 ms ± 30.0 ms (60.0%)", "600 ms ± 60.0 ms (80.0%)"],
    ]


def test_differing_events_are_reported(report_of_both: str) -> None:
    events = {
        line[0]: line[-1] for line in lines_of(report_of_both, GPU, "Speed-up over other methods") if len(line) == 5
    }
    assert events["official formulation, compiled, float32 photographs"] == "25.00% differ"
    assert events["official formulation, float32 photographs"] == "equal"
    assert events["ODG, uint8 photographs"] == "–"


def test_speed_ups_over_odg_are_computed_from_rows(report_of_both: str) -> None:
    claim = [
        line for line in report_of_both.split("## The 300× claim")[1].split("\n## ")[0].splitlines() if line[:1] == "|"
    ]
    cells = {
        tuple(c.strip() for c in line.strip("|").split("|")[:2]): line.strip("| ").split("|")[-1].strip()
        for line in claim
    }
    assert "That is 295×" in report_of_both
    assert cells[GPU, "official formulation"] == "0.500×", "on a GPU, the row with tf32 is used"
    assert cells[CPU, "official formulation"] == "0.200×"
    assert cells[CPU, "this package, uint8 → bool"] == "12.5×"


def test_rows_that_were_not_measured(report_of_both: str, tmp_path: Path) -> None:
    text = report_of([row for row in rows_of(CPU) if row["case"].get("method") != "ODG"], tmp_path)
    assert "**No GPU has been measured yet.**" in text
    odg, gpu = (re.search(rf"\| {name} .*", text) for name in (r"Test CPU, 2 cores +\| ODG", "a GPU"))
    assert odg
    assert NOT_MEASURED in odg[0]
    assert gpu
    assert [cell.strip() for cell in gpu[0].strip("|").split("|")][1:] == ["all methods", NOT_MEASURED, NOT_MEASURED]
    assert not re.search(r"No GPU|\| a GPU", report_of_both)


def test_report_of_one_row_has_two_tables_and_no_plot(tmp_path: Path) -> None:
    text = report_of([comparison("ours", "uint8", "bool", 1.0)], tmp_path)
    assert ["uint8 → bool", "31.2 ms ± 3.12 ms"] in lines_of(text, CPU, "Speed-up over other methods")
    assert text.count("Not measured.") == len(SECTIONS) - 2, "all sections except ours and memory"
    assert "![" not in text
    assert "ROOFLINE" in text
    assert "Not measured." in report_of([], tmp_path)


def test_device_table_has_versions_commits_dates_and_load(tmp_path: Path) -> None:
    rows = rows_of(CPU)
    rows[0] |= {"date": "2026-02-03T00:00:00+00:00", "commit": "fedcba9876543210", "dirty": True, "load": 3.25}
    line = next(line for line in report_of(rows, tmp_path).splitlines() if line.startswith(f"| {CPU} |"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:5] == ["–", "2.99.0", "3.99.0", "0.1.0"]
    assert cells[7:] == ["01234567, fedcba98 with changes", "2026-01-02 to 2026-02-03", "0.5 to 3.25", str(len(rows))]


def test_plots_depend_only_on_the_rows_and_are_all_shown(rows: list[Row], tmp_path: Path) -> None:
    text = report_of(rows, tmp_path / "a")
    assert text == report_of(rows, tmp_path / "b")
    written = sorted((tmp_path / "a" / "plots").iterdir())
    assert len(written) == 2 * 5
    assert sorted(re.findall(r"\]\(plots/([^)]+)\)", text)) == [path.name for path in written]
    for path in written:
        assert path.read_bytes() == (tmp_path / "b" / "plots" / path.name).read_bytes()
        assert path.stat().st_size < 150_000


@pytest.mark.slow
def test_roofline_is_computed_from_the_kernels() -> None:
    (line,) = [line for line in roofline().splitlines() if line.startswith("| uint8 → packed ")]
    (kernel,) = kernel_costs("uint8", "packed", 128, H100)
    assert kernel.reading
    assert kernel.writing
    issue, copy = issue_seconds(kernel.reading + kernel.writing, H100), copy_seconds("uint8", "packed", H100)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:4] == [str(kernel.registers), f"{kernel.shared} B", f"{kernel.spilled} B"]
    assert cells[5:] == [f"{issue * 1e6:.3f} µs", f"{copy * 1e6:.3f} µs", f"{min(1, copy / issue):.0%}"]
