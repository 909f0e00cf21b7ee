"""The sections of a report that there are for each device: tables and plots of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness.machine import slug
from benchmarks.report import plots
from benchmarks.report.markdown import (
    NOT_MEASURED,
    duration,
    image_time,
    part_of,
    ratio,
    share,
    significant,
    size,
    table,
)
from benchmarks.report.rows import Results, Row, seconds_an_image

_SIZE = 224
_PAIRS = tuple((input, format) for input in ("uint8", "float32") for format in plots.COLOURS)
_FACES = {
    "host": "until the call returns",
    "finished": "until the events are there",
    "graph, finished": "CUDA graph, until the events are there",
    "device": "the GPU's own time",
    "graph, device": "CUDA graph, the GPU's own time",
}
#: What a batch of a data set goes through, in order.
DATA_SET_STAGES = ("read", "decode and resize", "convert", "encode", "compress and write")
#: Where the events go, and how a reader is told.
AUGMENTATION_RESULTS = {
    "new": "as new tensors",
    "out": "into those of the batch before",
}
#: Ways from raw images to the events of their augmented versions.
AUGMENTATION_METHODS = (
    "ours",
    "torchvision, image by image",
    "torchvision, converted as a batch",
    "conversion alone",
)
#: What a batch goes through in training, in order; its data are prepared by other processes while a step is taken.
TRAINING_STAGES = ("data", "conversion", "forward", "backward", "optimizer")
_LOOPS = {"ours": "this package's loop", "published": "the published loop"}
_STAGES = ("decode", "resize", "stack", "transfer", "convert")


def throughput(results: Results, device: str, folder: Path) -> Iterator[str]:
    """Time an image against batch size and format."""
    for mode, how in (("graph", "Replayed as a CUDA graph"), ("eager", "Called from Python")):
        if rows := results.select(device, "throughput", mode=mode, size=_SIZE):
            yield f"{how}, into memory that is there already. Time an image of 224×224, by images in a batch:"
            batches = sorted({row["case"]["batch"] for row in rows})
            body = []
            for pair in _PAIRS:
                if any(_matches(row, pair) for row in rows):
                    body.append([_name(pair), *(_time(_one(rows, pair, batch=batch)) for batch in batches)])
            yield table(["", *map(str, batches)], body)
    mode = _mode(results, device)
    if results.select(device, "throughput", mode=mode, size=_SIZE):
        path = folder / f"{slug(device)}-throughput.svg"
        plots.throughput(results, device, mode, _SIZE, path)
        yield f"![Images a second against batch size](plots/{path.name})"


def races(results: Results, device: str, folder: Path) -> Iterator[str]:
    """This package against other methods."""
    yield (
        "Images of 224×224, the same for all, photographs unless it says noise. Who is called allocates the events. "
        "ODG and the emulator go through the batch image by image, as they are defined, and return coordinates."
    )
    if device in results.devices("cuda"):
        yield "With tf32, convolutions round what they multiply, as PyTorch lets them on a GPU unless told otherwise."
    ours = results.select(device, "races", method="ours", content="photographs")
    others = sorted(
        (row for row in results.select(device, "races") if row["case"]["method"] != "ours"),
        key=lambda row: (row["case"]["content"] == "noise", row["case"]["input"], seconds_an_image(row)),
    )
    body = [[f"this package, {_name(pair)}", image_time(_one(ours, pair))] for pair in _PAIRS]
    yield table(["method", "time an image"], body + [[_method(row), image_time(row)] for row in others])
    yield "How many times as fast this package is, from images of the same type:"
    formats = ("float32", "bool", "packed")
    body, bars = [], {}
    for row in others:
        input, content = row["case"]["input"], row["case"]["content"]
        fast = {
            format: results.find(device, "races", method="ours", input=input, format=format, content=content)
            for format in formats
        }
        body.append([_method(row), *(ratio(row, fast[format]) for format in formats)])
        drawn = [found for format in ("float32", "bool") if (found := fast[format])]
        if content != "noise" and drawn:
            bars[_method(row)] = (row, drawn)
    yield table(["than", *(f"→ {format}" for format in formats)], body)
    if bars:
        path = folder / f"{slug(device)}-speed-up.svg"
        plots.speed_ups(bars, device, path)
        yield f"![Speed-up over other methods](plots/{path.name})"
    yield from _differing(others)


def limits(results: Results, device: str, folder: Path) -> Iterator[str]:
    """The conversion against copies and memsets of its bytes."""
    mode = _mode(results, device)
    large = next((row for row in results.select(device, "limits", method="copy") if "bytes" in row["case"]), None)
    copies = [row for row in results.select(device, "limits", method="copy") if "bytes" not in row["case"]]
    body, bars = [], []
    for pair in _PAIRS:
        copy = _one(copies, pair)
        batch = copy["case"]["batch"] if copy else None
        row = results.find(device, "throughput", mode=mode, size=_SIZE, batch=batch, input=pair[0], format=pair[1])
        memset = results.find(device, "limits", method="memset", format=pair[1], size=_SIZE)
        against = large if mode == "graph" else copy
        body.append([_name(pair), image_time(row), share(row, against), share(row, copy), ratio(row, memset)])
        if row and against:
            bars.append((_name(pair), row, against))
    batches = ", ".join(sorted({str(row["case"]["batch"]) for row in copies}))
    yield (
        f"Batches of {batches} images of 224×224, into memory that is there already. A conversion's bytes are its "
        "images, read once, and its events, written once; a copy's are those it reads and those it writes."
    )
    rate = "share of the rate of a 1 GiB copy" if mode == "graph" else "share of the rate of a copy"
    columns = [0, 1, 2, 3, 4] if mode == "graph" else [0, 1, 2, 4]
    head = ["", "time an image", rate, "of a copy of as many bytes", "times a memset of the events"]
    yield table([head[i] for i in columns], [[row[i] for i in columns] for row in body])
    if bars:
        path = folder / f"{slug(device)}-share-of-copy.svg"
        plots.shares(bars, device, "a 1 GiB copy" if mode == "graph" else "a copy of as many bytes", path)
        yield f"![Share of the copy rate by format](plots/{path.name})"


def latency(results: Results, device: str, folder: Path) -> Iterator[str]:
    """One image, and what of its time is the host's."""
    rows = results.select(device, "latency")
    faces = [face for face in _FACES if any(row["case"]["face"] == face for row in rows)]
    body = []
    for pair in _PAIRS:
        if any(_matches(row, pair) for row in rows):
            body.append([_name(pair), *(image_time(_one(rows, pair, face=face)) for face in faces)])
    yield table(["224×224", *(_FACES[face] for face in faces)], body)


def memory(results: Results, device: str, folder: Path) -> Iterator[str]:
    """Peak memory of a batch's conversion."""
    rows = results.select(device, "races", content="photographs")
    body = []
    for row in sorted(rows, key=lambda row: (row["case"]["method"] != "ours", row["case"]["input"])):
        case, peak = row["case"], row["peak_memory"]
        if case["format"] is None or peak is None:
            continue
        name = _name((case["input"], case["format"]))
        events = row["bytes_moved"] - row["images"] * 3 * _SIZE * _SIZE * (1 if case["input"] == "uint8" else 4)
        beside = size(max(0, peak - events) / row["images"])
        body.append([f"{_method(row)}, {name}", size(peak / row["images"]), size(events / row["images"]), beside])
    yield "Most that PyTorch holds at once during a call beyond the images, for each image of 224×224 in a batch:"
    yield table(["", "peak", "of it the events", "beside them"], body)


def cost_per_pixel(results: Results, device: str, folder: Path) -> Iterator[str]:
    """What a pixel costs as images grow."""
    mode = _mode(results, device)
    sweeps = {pair: plots.size_sweep(results, device, mode, *pair) for pair in _PAIRS}
    sides = sorted({row["case"]["size"] for rows in sweeps.values() for row in rows})
    yield "Time a pixel, all 8 timesteps together, by height and width of the images, in batches of as many pixels:"
    body = []
    for pair, rows in sweeps.items():
        if rows:
            known = {row["case"]["size"]: f"{significant(plots.nanoseconds_a_pixel(row))} ns" for row in rows}
            body.append([_name(pair), *(known.get(side, NOT_MEASURED) for side in sides)])
    yield table(["", *map(str, sides)], body)
    if body:
        path = folder / f"{slug(device)}-cost-per-pixel.svg"
        plots.cost_per_pixel(results, device, mode, path)
        yield f"![Time a pixel against image size](plots/{path.name})"


def scaling(results: Results, device: str, folder: Path) -> Iterator[str]:
    """Threads and DataLoader workers, which are the CPU's."""
    rows = results.select(device, "threads")
    if not rows:
        yield f"Threads and workers are the CPU's: {NOT_MEASURED} here."
        return
    threads = sorted({row["case"]["threads"] for row in rows})
    body = []
    for case in _distinct(rows, "method", "input", "format"):
        found = [results.find(device, "threads", **case, threads=number) for number in threads]
        name = f"{_method_name(case['method'])}, {_name((case['input'], case['format']))}"
        body.append([name, *map(image_time, found), ratio(found[0], found[-1])])
    yield table(["threads", *map(str, threads), f"times as fast with {threads[-1]}"], body)
    rows = results.select(device, "workers")
    workers = sorted({row["case"]["workers"] for row in rows})
    body = []
    for case in _distinct(rows, "convert"):
        found = [results.find(device, "workers", **case, workers=number) for number in workers]
        body.append([case["convert"], *map(image_time, found)])
    yield (
        "An epoch over JPEG files, decoded and resized to 224×224 by a DataLoader and converted to packed events; time "
        "an image, by its number of workers (0: in the loop itself):"
    )
    yield table(["converted", *map(str, workers)], body)


def end_to_end(results: Results, device: str, folder: Path) -> Iterator[str]:
    """Stages from files to events."""
    rows = results.select(device, "end to end")
    files = sorted({row["case"]["files"] for row in rows})
    yield (
        "Files of photographs, 300 to 640 pixels a side: decoded, resized to 224×224 (bicubic), stacked to a batch, "
        "transferred (where there is a GPU) and converted, uint8 → bool. Each stage alone, and all of them as a user "
        "writes it; time an image:"
    )
    body, parts = [], {}
    for kind in files:
        found = {stage: results.find(device, "end to end", files=kind, stage=stage) for stage in (*_STAGES, "all")}
        parts[kind.upper()] = {stage: row for stage, row in found.items() if row and stage != "all"}
        whole = found["all"]
        for stage, row in found.items():
            if row is None and stage == "transfer" and device in results.devices("cpu"):
                continue
            part = "" if stage == "all" else part_of(row, whole)
            body.append([f"{kind.upper()}: {stage}", image_time(row), part])
    yield table(["stage", "time an image", "of all"], body)
    if body:
        path = folder / f"{slug(device)}-end-to-end.svg"
        plots.stages(parts, device, path)
        yield f"![Time of each stage](plots/{path.name})"


def data_set(results: Results, device: str, folder: Path) -> Iterator[str]:
    """A whole data set to Parquet: the stages of a batch, and all of it."""
    rows = results.select(device, "data set stages")
    for data in dict.fromkeys(row["case"]["data"] for row in rows):
        found = [row for row in rows if row["case"]["data"] == data]
        found.sort(key=lambda row: DATA_SET_STAGES.index(row["case"]["stage"]))
        total, side = sum(map(seconds_an_image, found)), found[0]["case"]["size"]
        yield (
            f"{data}, JPEG, to Parquet at {side}×{side}: {found[0]['bytes_on_disk'] / found[0]['images']:,.0f} bytes "
            "an image. Each stage alone, on one thread; the command spreads the first three over workers and the "
            "others over threads:"
        )
        body = []
        for row in found:
            part = f"{seconds_an_image(row) / total:.0%} `{row['key']}`/sum"
            body.append([row["case"]["stage"], image_time(row), part])
        yield table(["stage", "time an image", "of their sum"], [*body, ["their sum", duration(total), ""]])
    yield (
        "All images of all splits by `i2e dataset`, once, with the start of Python and of its workers; and the "
        "published way, an image at a time, on one thread:"
    )
    body = []
    for row in results.select(device, "data set"):
        case = row["case"]
        with_workers = "" if case["workers"] is None else f", {case['workers']} workers"
        name = f"{case['method']}{with_workers}: {case['data']}"
        body.append([name, f"{row['images']:,}", duration(row["median_s"]), image_time(row)])
    yield table(["", "images", "time", "time an image"], body)


def augmentation(results: Results, device: str, folder: Path) -> Iterator[str]:
    """Raw images to augmented events, against torchvision followed by a conversion."""
    yield (
        "128 images of 32×32, uint8: padded by 4, cropped, resized to 128×128 (bilinear), flipped and converted, with "
        "the drawing of all of it. torchvision augments one image after another, as a worker does, and each is "
        "converted at once, or all of them as a batch afterwards. The conversion alone is of ready images of 128×128:"
    )
    for result, where in AUGMENTATION_RESULTS.items():
        yield f"Events {where}:"
        yield from _augmented_into(results, device, result)


def _augmented_into(results: Results, device: str, result: str) -> Iterator[str]:
    rows = results.select(device, "augmentation", result=result)
    formats = [format for format in plots.COLOURS if any(row["case"]["format"] == format for row in rows)]
    body = []
    for method in AUGMENTATION_METHODS:
        if found := results.select(device, "augmentation", method=method, result=result):
            known = {row["case"]["format"]: row for row in found}
            body.append([_method_name(method), *(image_time(known.get(format)) for format in formats)])
    yield table(["time an image", *(f"→ {format}" for format in formats)], body)
    yield "How many times as long as in one launch or call:"
    body = []
    for method in AUGMENTATION_METHODS[1:]:
        if results.select(device, "augmentation", method=method, result=result):
            pairs = [
                [results.find(device, "augmentation", method=m, format=format, result=result) for m in (method, "ours")]
                for format in formats
            ]
            body.append([method, *(ratio(slow, fast) for slow, fast in pairs)])
    yield table(["", *(f"→ {format}" for format in formats)], body)


def training(results: Results, device: str, folder: Path) -> Iterator[str]:
    """Steps of training and their stages, here and in the published loop."""
    rows = results.select(device, "training")
    steps = {loop: results.find(device, "training", loop=loop) for loop in _LOOPS}
    batches = ", ".join(sorted({f"{row['case']['batch']} photographs of {_square(row)}" for row in rows}))
    yield (
        f"MS-ResNet-18 with the conversion inside, ratio 0.07, 10 classes, batches of {batches or NOT_MEASURED}: steps "
        "from images in the host's memory to new weights. The published loop is its structure, written anew: a "
        "convolution as the conversion, channels first, the loss read at each step, and on a GPU float16 with scaled "
        "gradients. Both take SpikingJelly's neurons as they come. Peak memory of a batch, beyond weights and momentum:"
    )
    body = []
    for loop, row in steps.items():
        if row:
            rate, peak = significant(1 / seconds_an_image(row)), size(row["peak_memory"])
            times = "" if loop == "published" else ratio(steps["published"], row)
            body.append([f"{_LOOPS[loop]}, {row['case']['precision']}", rate, image_time(row), times, peak])
    yield table(["", "images a second", "time an image", "times as fast as the published loop", "peak memory"], body)
    yield (
        "Stages, each alone. The data are JPEG pictures of 32×32, decoded, augmented (baseline 2) and resized in the "
        "loop itself; they are no part of a step, as workers prepare them meanwhile. The conversion draws its motion "
        "vectors; forward goes from events to the loss. Time an image, and its part of a step:"
    )
    body = []
    for stage in TRAINING_STAGES:
        found = {loop: results.find(device, "training stages", loop=loop, stage=stage) for loop in _LOOPS}
        if any(found.values()):
            cells = ([image_time(row), part_of(row, steps[loop])] for loop, row in found.items())
            body.append([stage, *(cell for pair in cells for cell in pair)])
    yield table(["stage", *(head for name in _LOOPS.values() for head in (name, "of its step"))], body)


def _square(row: Row) -> str:
    return f"{row['case']['size']}×{row['case']['size']}"


def _mode(results: Results, device: str) -> str:
    """How throughput was timed on a device: on a GPU without the host's share."""
    return "graph" if device in results.devices("cuda") else "eager"


def _name(pair: tuple[str, str]) -> str:
    return f"{pair[0]} → {pair[1]}"


def _matches(row: Row, pair: tuple[str, str]) -> bool:
    return (row["case"]["input"], row["case"]["format"]) == pair


def _one(rows: list[Row], pair: tuple[str, str], **case: object) -> Row | None:
    """The row of a pair of types, None where there is none."""
    return next((row for row in rows if _matches(row, pair) and case.items() <= row["case"].items()), None)


def _time(row: Row | None) -> str:
    return duration(seconds_an_image(row)) if row else NOT_MEASURED


def _distinct(rows: list[Row], *names: str) -> list[dict[str, str]]:
    """The different values that cases have for some names."""
    return [dict(zip(names, values)) for values in dict.fromkeys(tuple(row["case"][n] for n in names) for row in rows)]


def _method(row: Row) -> str:
    case = row["case"]
    parts = [_method_name(case["method"])]
    if case["method"].startswith("published"):
        parts.append(f"from {case['input']}")
    if case["content"] == "noise":
        parts.append("noise")
    return ", ".join(parts)


def _method_name(method: str) -> str:
    return "this package" if method == "ours" else method


def _differing(rows: list[Row]) -> Iterator[str]:
    """Which methods' events are not the specification's."""
    for row in rows:
        if row.get("differing"):
            yield f"{_method(row)}: {row['differing']:.2%} of its events are not the specification's (`{row['key']}`)."
