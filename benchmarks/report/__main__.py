"""Write benchmarks/REPORT.md and its plots from the rows in benchmarks/results: ``python -m benchmarks.report``."""

from __future__ import annotations

from pathlib import Path

import triton

from benchmarks.harness.rows import DeviceRows, Row, read_rows, rows_by_device
from benchmarks.harness.workload import MAIN_PAIRS
from benchmarks.report.plots import Plots
from benchmarks.report.sections import SECTIONS
from benchmarks.report.tables import NOT_MEASURED, image_time, significant, speed_up_text, table
from benchmarks.roofline.estimate import H100, copy_seconds, issue_seconds, kernel_costs
from i2e_triton.io.atomic import write_whole

_FOLDER = Path(__file__).parents[1]
_TEMPLATE = Path(__file__).with_name("report.md")
_DEVICE_TEMPLATE = Path(__file__).with_name("device.md")
_ENVIRONMENT = ("driver", "torch", "triton", "i2e_triton", "python", "os", "commit")
# Table 2 of the paper: ms per 224x224 image for ODG, and for I2E on a GPU.
_PAPER_ODG, _PAPER_I2E = 29.47, 0.1


def main() -> None:
    """Write the report of all rows, and its plots."""
    text = report(read_rows(), _FOLDER / "plots", roofline())
    with write_whole(_FOLDER / "REPORT.md") as file:
        file.write(text.encode())


def report(rows: list[Row], plots: Path, roofline_table: str) -> str:
    """Write the plots to the folder ``plots`` and return the report as Markdown, which links to ``plots/``."""
    by_device = rows_by_device(rows)
    sections = []
    for results in by_device:
        contents = {name: make(results, Plots(plots, results.device)) for name, make in SECTIONS.items()}
        sections.append(_DEVICE_TEMPLATE.read_text().format(device=results.device, **contents))
    return _TEMPLATE.read_text().format(
        devices=devices(by_device),
        gpu="" if any(results.cuda for results in by_device) else "**No GPU has been measured yet.**",
        paper_i2e=_PAPER_I2E,
        paper_odg=_PAPER_ODG,
        paper_ratio=significant(_PAPER_ODG / _PAPER_I2E),
        claim=claim(by_device),
        by_device="\n".join(sections).rstrip(),
        limits=H100,
        triton=triton.__version__,
        clock=H100.clock / 1e9,
        copy_rate=H100.copy_rate / 1e12,
        roofline=roofline_table,
    )


def devices(by_device: list[DeviceRows]) -> str:
    """Return a table of the devices with versions, dates, load and number of rows."""
    body = []
    for results in by_device:
        values = [", ".join(sorted({_environment(row, name) for row in results.rows})) for name in _ENVIRONMENT]
        dates, loads = (sorted(row[name] for row in results.rows) for name in ("date", "load"))
        days = " to ".join(dict.fromkeys([dates[0][:10], dates[-1][:10]]))
        body.append([results.device, *values, days, f"{loads[0]} to {loads[-1]}", str(len(results.rows))])
    return table(["device", *_ENVIRONMENT, "date", "load", "rows"], body)


def _environment(row: Row, name: str) -> str:
    if name == "commit" and row[name]:
        return row[name][:8] + (" with changes" if row["dirty"] else "")
    return str(row[name] or "–")


def claim(by_device: list[DeviceRows]) -> str:
    """Return a table of the speed-ups over ODG, for comparison with the paper's claim."""
    body = []
    for results in by_device:
        odg = results.find("comparison", content="photographs", method="ODG")
        body.append([results.device, "ODG", image_time(odg), ""])
        for name, method, format in (
            # tf32 is PyTorch's default on a GPU.
            ("official formulation", "official, tf32" if results.cuda else "official", "float32"),
            ("this package, uint8 → float32", "ours", "float32"),
            ("this package, uint8 → bool", "ours", "bool"),
        ):
            row = results.find("comparison", content="photographs", input="uint8", method=method, format=format)
            body.append([results.device, name, image_time(row), speed_up_text(odg, row)])
    if not any(results.cuda for results in by_device):
        body.append(["a GPU", "all methods", NOT_MEASURED, NOT_MEASURED])
    return table(["device", "method", "time per image", "speed-up over ODG"], body)


def roofline() -> str:
    """Compile the kernels for an H100 and return a table of lower bounds on their times."""
    body = []
    for input, format in sorted({*MAIN_PAIRS, ("uint8", "bfloat16")}):
        (kernel,) = kernel_costs(input, format, 128, H100)
        instructions = (kernel.reading or 0) + (kernel.writing or 0)
        issue, copy = issue_seconds(instructions, H100), copy_seconds(input, format, H100)
        memory = [str(kernel.registers), f"{kernel.shared} B", f"{kernel.spilled} B"]
        bounds = [f"{issue * 1e6:.3f} µs", f"{copy * 1e6:.3f} µs", f"{copy / max(issue, copy):.0%}"]
        body.append([f"{input} → {format}", *memory, significant(instructions), *bounds])
    head = [
        "",
        "registers",
        "shared",
        "spilled",
        "instructions per pixel",
        "issue",
        "copy",
        "bandwidth / bandwidth of a copy, at most",
    ]
    return table(head, body)


if __name__ == "__main__":
    main()
