"""Write benchmarks/REPORT.md and its plots from the rows of results: ``python -m benchmarks.report``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.report import sections
from benchmarks.report.claim import claim
from benchmarks.report.markdown import NOT_MEASURED, duration, table
from benchmarks.report.on_paper import on_paper
from benchmarks.report.rows import Results, Row, read_rows
from benchmarks.report.targets import targets
from benchmarks.roofline.floors import H100
from i2e_triton.io.atomic import write_whole

FOLDER = Path(__file__).parents[1]
_HEAD = f"""# Benchmarks

Written by `make bench` from the rows under [results/](results); not to be edited. A time is the median of all rounds ±
their interquartile range. A ratio names its two rows by their keys, `numerator`/`denominator`, both of one device:
`grep KEY benchmarks/results/*` shows a row with its device, versions, date and commit. What has not been measured is
"{NOT_MEASURED}". Images have 3 channels and are half photographs that scikit-image ships, half noise, unless a section
says otherwise; 8 timesteps; ratio 0.12; one CPU thread."""
_SECTIONS = {
    "Throughput": sections.throughput,
    "Speed-up over other methods": sections.races,
    "Against the hardware's limits": sections.limits,
    "Latency of one image": sections.latency,
    "Memory": sections.memory,
    "Cost of a pixel": sections.cost_per_pixel,
    "Threads and DataLoader workers": sections.scaling,
    "From files to events": sections.end_to_end,
    "A data set to events": sections.data_set,
    "Augmentation": sections.augmentation,
    "Training": sections.training,
}


def main() -> None:
    """Write the report of what has been measured."""
    with tempfile.TemporaryDirectory() as scratch:
        machine_code = "\n\n".join(on_paper(H100, Path(scratch)))
    text = report(Results(read_rows()), machine_code, FOLDER / "plots")
    with write_whole(FOLDER / "REPORT.md") as file:
        file.write(text.encode())


def report(results: Results, machine_code: str, plots: Path) -> str:
    """Write the plots, and return the report as Markdown.

    Args:
        results: what has been measured.
        machine_code: the section that needs no measurement.
        plots: folder that receives the plots; the report refers to it as ``plots/``.
    """
    parts = [_HEAD, *devices(results), "## Targets", *targets(results), "## The 300× claim", *claim(results)]
    for title, section in _SECTIONS.items():
        parts.append(f"## {title}")
        for device in results.devices():
            parts += [f"### {device}", *section(results, device, plots)]
        if not results.devices("cuda"):
            parts.append(f"On a GPU: {NOT_MEASURED}.")
    parts += [f"## On paper: {H100.name}", machine_code, "## Rows", *all_rows(results)]
    return "\n\n".join(parts) + "\n"


def devices(results: Results) -> Iterator[str]:
    """What was measured on, when, and with which versions."""
    body = []
    for device in results.devices():
        rows = [row for row in results.rows if row["device"] == device]
        versions = [_values(rows, name) for name in ("driver", "torch", "triton", "i2e_triton", "python", "os")]
        commits = ", ".join(sorted({_commit(row) for row in rows}))
        loads = sorted(row["load"] for row in rows)
        dates = sorted(row["date"][:10] for row in rows)
        body.append([device, *versions, _span(dates), commits, _span(loads), str(len(rows))])
    head = ["device", "driver", "torch", "triton", "i2e-triton", "Python", "system", "date", "commit", "load", "rows"]
    yield table(head, body)


def all_rows(results: Results) -> Iterator[str]:
    """Every row, by key."""
    for device in results.devices():
        body = []
        for row in (row for row in results.rows if row["device"] == device):
            case = ", ".join(f"{name} {value}" for name, value in row["case"].items() if value is not None)
            time = f"{duration(row['median_s'])} ± {duration(row['iqr_s'])}"
            body.append([f"`{row['key']}`", row["suite"], case, time, str(row["images"]), str(row["rounds"])])
        head = ["key", "suite", "case", "median of a call", "images", "rounds"]
        yield f"<details><summary>{device}: {len(body)} rows</summary>\n\n{table(head, body)}\n\n</details>"


def _values(rows: list[Row], name: str) -> str:
    return ", ".join(sorted({str(row[name]) for row in rows if row[name] is not None})) or "–"


def _span(values: Sequence[str] | Sequence[float]) -> str:
    """First and last of ordered values."""
    return " to ".join(dict.fromkeys([str(values[0]), str(values[-1])]))


def _commit(row: Row) -> str:
    if row["commit"] is None:
        return "unknown"
    return row["commit"][:8] + (" with changes" if row["dirty"] else "")


if __name__ == "__main__":
    main()
