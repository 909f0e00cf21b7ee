"""Tables and plots of the report for one device. :data:`SECTIONS` maps the placeholders in device.md to functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from benchmarks.harness.rows import DeviceRows, Row, bandwidth_ratio, seconds_per_image, speed_up
from benchmarks.harness.workload import (
    AUGMENTATION_METHODS,
    DATA_SET_STAGES,
    FILE_STAGES,
    FORMATS,
    INPUTS,
    READING_METHODS,
    TRAINING_STAGES,
    image_bytes,
)
from benchmarks.report.plots import Plots
from benchmarks.report.tables import (
    NOT_MEASURED,
    duration,
    image_time,
    percent_of_bandwidth,
    percent_of_time,
    pivot,
    significant,
    size,
    speed_up_text,
    table,
)

_SIZE = 224
_NAMES = {"ours": "this package", "official": "official formulation"}
_LOOPS = {"ours": "this package", "bare": "bare network", "official": "official loop"}
_PARTS = {"forward": "conversion", "backward": "gradients", "both": "conversion and gradients"}
_CLOCKS = {
    "host": "until the call returns",
    "finished": "until the events are ready",
    "graph, finished": "CUDA graph, until the events are ready",
    "device": "GPU time",
    "graph, device": "CUDA graph, GPU time",
}


def gpu_run(results: DeviceRows, plots: Plots) -> str:
    """Return a table of the sections of ``make gpu``: how each one ended."""
    rows = results.select("gpu run")
    body = [[row["case"]["section"], row["status"], f"{row['median_s']:.0f} s", row["text"]] for row in rows]
    return table(["section", "status", "time", "result"], body)


def ours(results: DeviceRows, plots: Plots) -> str:
    """Return a table of the times of this package, by input and format."""
    rows = _sorted_by_pair(results.select("comparison", method="ours", content="photographs"))
    return pivot("", rows, _pair, lambda row: "time per image", image_time)


def others(results: DeviceRows, plots: Plots) -> str:
    """Return the times of the other methods and the speed-ups of this package over them, as table and plot."""
    rows = [row for row in results.select("comparison") if row["case"]["method"] != "ours"]
    body, bars = [], {}
    for row in sorted(rows, key=lambda row: (row["case"]["content"] == "noise", seconds_per_image(row))):
        images = {name: row["case"][name] for name in ("input", "content")}
        ours_by_format = {
            format: results.find("comparison", method="ours", format=format, **images) for format in ("float32", "bool")
        }
        name = f"{_method(row)}, {images['input']} {images['content']}"
        speed_ups = [speed_up_text(row, our_row) for our_row in ours_by_format.values()]
        body.append([name, image_time(row), *speed_ups, _difference(row)])
        if images["content"] == "photographs":
            bars[name] = {
                f"→ {format}": speed_up(row, our_row) for format, our_row in ours_by_format.items() if our_row
            }
    plot = plots.bars("speed-up", "Speed-up over other methods", bars, "speed-up per image", log=True)
    return table(["method", "time per image", "speed-up → float32", "speed-up → bool", "events"], body) + plot


def limits(results: DeviceRows, plots: Plots) -> str:
    """Return the bandwidth of conversions in percent of that of a copy, and their time relative to a memset."""
    # Only the case of the 1 GiB copy has "bytes".
    large_copy = next((row for row in results.select("limits", method="copy") if "bytes" in row["case"]), None)
    body, bars = [], {}
    for copy in _sorted_by_pair(results.select("limits", method="copy", size=_SIZE)):
        case = {name: copy["case"][name] for name in ("input", "format", "batch", "size")}
        row = results.find("throughput", mode=_mode(results), **case)
        memset = results.find("limits", method="memset", format=case["format"], size=_SIZE)
        shares = [percent_of_bandwidth(row, large_copy)] if large_copy else []
        shares.append(percent_of_bandwidth(row, copy))
        body.append([_pair(copy), str(case["batch"]), image_time(row), *shares, speed_up_text(row, memset)])
        bars[_pair(copy)] = {"": 100 * bandwidth_ratio(row, large_copy or copy)} if row else {}
    large_head = ["bandwidth / bandwidth of a 1 GiB copy"] if large_copy else []
    head = [
        "",
        "batch",
        "time per image",
        *large_head,
        "bandwidth / bandwidth of the copy",
        "time / time of the memset",
    ]
    label = f"bandwidth, % of {'a 1 GiB copy' if large_copy else 'a copy of the same number of bytes'}"
    return table(head, body) + plots.bars("share-of-copy", "Share of the copy bandwidth by format", bars, label)


def latency(results: DeviceRows, plots: Plots) -> str:
    """Return a table of the time of one image, by format and clock."""
    rows = _sorted_by_pair(_sorted(results.select("latency", size=_SIZE), "clock", _CLOCKS))
    return pivot("", rows, _pair, lambda row: _CLOCKS[row["case"]["clock"]], image_time)


def throughput(results: DeviceRows, plots: Plots, mode: str) -> str:
    """Return a table of the time per image by batch size and format. Add a plot if ``mode`` is ``_mode(results)``."""
    rows = _sorted_by_pair(_sorted(results.select("throughput", mode=mode, size=_SIZE), "batch"))
    text = pivot("", rows, _pair, _value("batch"), lambda row: duration(seconds_per_image(row)))
    if mode != _mode(results):
        return text
    lines = _lines(rows, "batch", lambda row: 1 / seconds_per_image(row))
    labels = {"xlabel": f"images of {_SIZE}×{_SIZE} per batch", "ylabel": "images per second"}
    return text + plots.lines("throughput", "Images per second by batch size", lines, **labels)


def image_size(results: DeviceRows, plots: Plots) -> str:
    """Return the time per pixel by image size, as table and plot."""

    def nanoseconds(row: Row) -> float:
        return 1e9 * seconds_per_image(row) / row["case"]["size"] ** 2

    rows = _sorted_by_pair(_sorted(results.select("throughput", mode=_mode(results)), "size"))
    # The rows of this size have several batch sizes. They are in the table of throughput().
    rows = [row for row in rows if row["case"]["size"] != _SIZE]
    labels = {"xlabel": "height and width of an image", "ylabel": "ns per pixel"}
    plot = plots.lines("time-per-pixel", "Time per pixel by image size", _lines(rows, "size", nanoseconds), **labels)
    return pivot("", rows, _pair, _value("size"), lambda row: f"{significant(nanoseconds(row))} ns") + plot


def memory(results: DeviceRows, plots: Plots) -> str:
    """Return a table of the peak memory of a conversion."""
    rows = results.select("comparison", content="photographs")
    rows = [row for row in rows if row["case"]["format"] and row["peak_memory"] is not None]
    body = []
    for row in sorted(_sorted_by_pair(rows), key=lambda row: row["case"]["method"] != "ours"):
        events = row["bytes_moved"] - image_bytes(row["images"], _SIZE, row["case"]["input"])
        counts = (row["peak_memory"], events, max(0, row["peak_memory"] - events))
        body.append([f"{_method(row)}, {_pair(row)}", *(size(count / row["images"]) for count in counts)])
    return table(["", "peak", "events", "temporary"], body)


def threads(results: DeviceRows, plots: Plots) -> str:
    """Return a table of the time per image by number of CPU threads."""

    def cell(row: Row) -> str:
        return _time_with(row, speed_up_text(results.find("threads", **{**row["case"], "threads": 1}), row))

    rows = _sorted_by_pair(_sorted(results.select("threads"), "threads"))
    rows.sort(key=lambda row: row["case"]["method"] != "ours")
    return pivot("threads", rows, lambda row: f"{_method(row)}, {_pair(row)}", _value("threads"), cell)


def workers(results: DeviceRows, plots: Plots) -> str:
    """Return a table of the time per image by number of DataLoader workers."""
    rows = _sorted(results.select("workers"), "workers")
    return pivot("converted", rows, _value("convert"), _value("workers"), image_time)


def end_to_end(results: DeviceRows, plots: Plots) -> str:
    """Return the time of each stage from image files to events, as table and plot."""
    rows = _sorted(results.select("end to end"), "stage", FILE_STAGES)
    whole = {row["case"]["files"]: row for row in rows if row["case"]["stage"] == "all"}
    bars: dict[str, dict[str, float]] = {row["case"]["stage"]: {} for row in rows}
    for row in rows:
        bars[row["case"]["stage"]][row["case"]["files"].upper()] = 1e3 * seconds_per_image(row)

    def cell(row: Row) -> str:
        return _time_with(row, percent_of_time(row, whole.get(row["case"]["files"])))

    text = pivot("stage", rows, _value("stage"), lambda row: row["case"]["files"].upper(), cell)
    return text + plots.bars("end-to-end", "Time of each stage", bars, "ms per image")


def data_set(results: DeviceRows, plots: Plots) -> str:
    """Return a table of the time to convert a whole data set, and of the CPU time of all its processes."""
    body = []
    for row in results.select("data set"):
        case, official = row["case"], results.find("data set", data=row["case"]["data"], method="official")
        name = f"{case['data']}, " + (f"`i2e dataset --workers {case['workers']}`" if case["workers"] else "official")
        # Rows of earlier versions have no CPU time.
        cpu = duration(row["cpu_s"] / row["images"]) if "cpu_s" in row else NOT_MEASURED
        times = [duration(row["median_s"]), image_time(row), cpu, speed_up_text(official, row)]
        body.append([name, f"{row['images']:,}", *times])
    return table(["", "images", "time", "time per image", "CPU time per image", "speed-up over official"], body)


def data_set_stages(results: DeviceRows, plots: Plots) -> str:
    """Return a table of the stages of the conversion of a data set, and their sum."""
    rows = _sorted(results.select("data set stages"), "stage", DATA_SET_STAGES)
    body = []
    for data in dict.fromkeys(row["case"]["data"] for row in rows):
        found = [row for row in rows if row["case"]["data"] == data]
        total, side = sum(map(seconds_per_image, found)), found[0]["case"]["size"]
        for row in found:
            body.append([data, row["case"]["stage"], image_time(row), f"{seconds_per_image(row) / total:.1%}", ""])
        stored = found[0]["bytes_on_disk"] / found[0]["images"]
        body.append([data, f"sum (images resized to {side}×{side})", duration(total), "100.0%", f"{stored:,.0f}"])
    return table(["data", "stage", "time per image", "share", "bytes per image on disk"], body)


def reading(results: DeviceRows, plots: Plots) -> str:
    """Return a table of the CPU time to read events, and of PyArrow's time for the same rows in percent of it."""

    def cell(row: Row) -> str:
        plain = results.find("reading", **{**row["case"], "method": READING_METHODS[1]})
        ratio = f"{plain['cpu_s'] / row['cpu_s']:.0%}" if plain else NOT_MEASURED
        return f"{duration(row['cpu_s'] / row['images'])} ({ratio})"

    rows = _sorted(results.select("reading"), "method", READING_METHODS)
    return pivot("", rows, _value("method"), lambda row: f"{row['case']['bits']}, {row['case']['compression']}", cell)


def on_the_fly(results: DeviceRows, plots: Plots) -> str:
    """Return a table of the images that are converted per second of CPU time when they are read."""
    rows = _sorted(results.select("on the fly"), "format", FORMATS)
    rows.sort(key=lambda row: (row["case"]["vectors"], row["case"]["method"] == "convert"))
    return pivot(
        "images per second",
        rows,
        lambda row: f"{row['case']['method']}, {row['case']['vectors']} vectors",
        lambda row: f"→ {row['case']['format']}",
        lambda row: f"{row['images'] / row['cpu_s']:,.0f}",
    )


def augmentation(results: DeviceRows, plots: Plots, result: str) -> str:
    """Return a table of the times of augmented conversion, and of torchvision followed by a conversion.

    Args:
        results: the rows of the device.
        plots: not used.
        result: ``"new"`` for newly allocated events, or ``"out"`` for events written to ``out``.
    """

    def cell(row: Row) -> str:
        return _time_with(row, speed_up_text(row, results.find("augmentation", **{**row["case"], "method": "ours"})))

    rows = _sorted(results.select("augmentation", result=result), "format", FORMATS)
    rows = _sorted(rows, "method", AUGMENTATION_METHODS)
    return pivot("", rows, _method, lambda row: f"→ {row['case']['format']}", cell)


def gradients(results: DeviceRows, plots: Plots) -> str:
    """Return a table of the times of a conversion and its gradients, and of autograd."""
    forward = results.find("gradients", method="ours", part="forward")
    body = []
    for row in _sorted(_sorted(results.select("gradients"), "part", _PARTS), "method", _NAMES):
        name = f"{_method(row)}, {_PARTS[row['case']['part']]}"
        body.append([name, image_time(row), speed_up_text(row, forward), size(row["peak_memory"])])
    return table(["", "time per image", "time / time of the conversion", "peak memory"], body)


def training(results: DeviceRows, plots: Plots) -> str:
    """Return a table of the times of training steps."""
    body = []
    for row in _sorted(results.select("training"), "loop", _LOOPS):
        case, official = row["case"], results.find("training", loop="official")
        name, batch = (
            f"{_LOOPS[case['loop']]}, {case['precision']}",
            f"{case['batch']} of {case['size']}×{case['size']}",
        )
        rate, peak = significant(1 / seconds_per_image(row)), size(row["peak_memory"])
        body.append([name, batch, rate, image_time(row), speed_up_text(official, row), peak])
    return table(["", "batch", "images per second", "time per image", "speed-up over official", "peak memory"], body)


def training_stages(results: DeviceRows, plots: Plots) -> str:
    """Return a table of the times of the stages of a training step."""
    rows = _sorted(results.select("training stages"), "loop", _LOOPS)
    rows = _sorted(rows, "stage", TRAINING_STAGES)

    def cell(row: Row) -> str:
        return _time_with(row, percent_of_time(row, results.find("training", loop=row["case"]["loop"])))

    return pivot("stage", rows, _value("stage"), lambda row: _LOOPS[row["case"]["loop"]], cell)


SECTIONS: dict[str, Callable[[DeviceRows, Plots], str]] = {
    "gpu_run": gpu_run,
    "ours": ours,
    "others": others,
    "limits": limits,
    "latency": latency,
    "throughput_eager": partial(throughput, mode="eager"),
    "throughput_graph": partial(throughput, mode="graph"),
    "image_size": image_size,
    "memory": memory,
    "threads": threads,
    "workers": workers,
    "end_to_end": end_to_end,
    "data_set": data_set,
    "data_set_stages": data_set_stages,
    "reading": reading,
    "on_the_fly": on_the_fly,
    "augmentation_new": partial(augmentation, result="new"),
    "augmentation_out": partial(augmentation, result="out"),
    "gradients": gradients,
    "training": training,
    "training_stages": training_stages,
}


def _value(name: str) -> Callable[[Row], Any]:
    return lambda row: row["case"][name]


def _sorted(rows: list[Row], name: str, order: Iterable[str] | None = None) -> list[Row]:
    """Return rows sorted by the value ``name`` of their cases, or by the position of this value in ``order``."""
    positions = {value: index for index, value in enumerate(order or ())}
    return sorted(rows, key=lambda row: positions[row["case"][name]] if order else row["case"][name])


def _sorted_by_pair(rows: list[Row]) -> list[Row]:
    """Return rows sorted by input, then by format."""
    return _sorted(_sorted(rows, "format", FORMATS), "input", INPUTS)


def _lines(rows: list[Row], x: str, y: Callable[[Row], float]) -> dict[tuple[str, str], dict[int, float]]:
    lines: dict[tuple[str, str], dict[int, float]] = {}
    for row in rows:
        lines.setdefault((row["case"]["input"], row["case"]["format"]), {})[row["case"][x]] = y(row)
    return lines


def _pair(row: Row) -> str:
    return f"{row['case']['input']} → {row['case']['format']}"


def _difference(row: Row) -> str:
    """Return the share of events that differ from this package, or "–" if they were not compared."""
    if "differing" not in row:
        return "–"
    return f"{row['differing']:.2%} differ" if row["differing"] else "equal"


def _method(row: Row) -> str:
    first, *options = row["case"]["method"].split(", ")
    return ", ".join([_NAMES.get(first, first), *options])


def _time_with(row: Row, ratio: str) -> str:
    return f"{image_time(row)} ({ratio})"


def _mode(results: DeviceRows) -> str:
    """Return the mode for comparisons with hardware limits: on a GPU "graph", which excludes the host's time."""
    return "graph" if results.cuda else "eager"
