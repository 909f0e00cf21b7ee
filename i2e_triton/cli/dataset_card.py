"""The data set card that ``i2e push`` uploads: metadata for the Hugging Face hub, and a description for readers."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rich.filesize import decimal

from i2e_triton.cli.dataset_report import split_summaries
from i2e_triton.cli.terminal import percent, printable
from i2e_triton.pipeline.manifest import Manifest
from i2e_triton.pipeline.plan import ConversionConfig

_INTRODUCTION = """\
Events for spiking networks, converted from images by i2e-triton {version} with the I2E algorithm
(Ma et al., AAAI 2026, [arXiv 2511.08065](https://arxiv.org/abs/2511.08065)).
"""
_LOAD = """\
```python
from huggingface_hub import snapshot_download
from i2e_triton.datasets import EventDataset  # pip install 'i2e-triton[hub]'

folder = snapshot_download({repository}, repo_type="dataset")
dataset = EventDataset(folder, {split})
events, label = dataset[0]  # events: float32 [{timesteps}, 2, H, W]; channel 0 is ON, channel 1 is OFF
```
"""
_LOAD_WITH_DATASETS = """
With the library `datasets`:

```python
import datasets
from i2e_triton.datasets import decode_batch

rows = datasets.load_dataset({repository}, split={split}).with_transform(decode_batch)
events = rows[0]["events"]
```
"""
_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M", 10_000_000: "1M<n<10M"}


def dataset_card(manifest: Manifest, repository: str, license: str) -> str:
    """Return the data set card of a converted data set, in Markdown with YAML metadata.

    Args:
        manifest: the manifest of a complete data set in Parquet files or tars.
        repository: name of the repository, ``OWNER/NAME``.
        license: identifier of the licence, for example ``cc-by-4.0``.
    """
    split = next(iter(manifest.rows))
    values = {
        "repository": json.dumps(repository),
        "split": json.dumps(split),
        "timesteps": manifest.settings["timesteps"],
    }
    load = (_LOAD + (_LOAD_WITH_DATASETS if manifest.settings["format"] == "parquet" else "")).format(**values)
    sections = {
        "How to load it": load,
        "Splits": _table(("split", "images", "shards", "size", "event rate"), _split_rows(manifest)),
        "Event rates": "The fraction of event positions (timesteps x polarities x pixels) that have an event.\n\n"
        + _table(("timestep", "ON", "OFF"), _rate_rows(manifest)),
        "Conversion": _table(("setting", "value"), _setting_rows(manifest)),
    }
    body = "".join(f"\n## {title}\n\n{text}" for title, text in sections.items())
    title = repository.partition("/")[2]
    return f"{_metadata(manifest, title, license)}\n# {title}\n\n{_INTRODUCTION.format(version=manifest.version)}{body}"


def _metadata(manifest: Manifest, title: str, license: str) -> str:
    """Return the YAML metadata. Strings are written as JSON, which is valid YAML."""
    images = sum(manifest.rows.values())
    lines = ["---", f"license: {json.dumps(license)}", f"pretty_name: {json.dumps(title)}"]
    lines += ["tags: [event-camera, i2e, neuromorphic, spiking-neural-networks]"]
    if manifest.classes is not None:
        lines += ["task_categories: [image-classification]"]
    lines += [f"size_categories: [{next((name for limit, name in _SIZES.items() if images < limit), '10M<n<100M')}]"]
    lines += ["configs:", "- config_name: default", "  data_files:"]
    suffix = manifest.settings["format"]
    for split in manifest.rows:
        lines += [f"  - split: {json.dumps(split)}", f"    path: {json.dumps(f'{split}-*.{suffix}')}"]
    return "\n".join([*lines, "---", ""])


def _split_rows(manifest: Manifest) -> Iterator[tuple[str, ...]]:
    for summary in split_summaries(manifest):
        images, shards, size = f"{summary.images:,}", str(summary.shards), decimal(summary.bytes)
        yield printable(summary.split), images, shards, size, percent(summary.event_rate)


def _rate_rows(manifest: Manifest) -> Iterator[tuple[str, ...]]:
    for timestep, (on, off) in enumerate(manifest.event_rate()):
        yield str(timestep), percent(on), percent(off)


def _setting_rows(manifest: Manifest) -> Iterator[tuple[str, str]]:
    settings = ConversionConfig.from_json(manifest.settings)
    size = "of each image" if settings.size is None else f"{settings.size[0]} x {settings.size[1]}, {settings.resize}"
    yield "size", size
    yield "ratio", str(settings.ratio)
    yield "order of the timesteps", str(settings.order)
    yield "motion vectors", f"random, seed {settings.seed}" if settings.random_shifts else "canonical"
    yield "records", f"{settings.bits} bits, {settings.compression} compression"
    yield "classes", "none" if manifest.classes is None else str(len(manifest.classes))
    yield "unreadable images, skipped", str(sum(len(record.skipped) for record in manifest.shards))


def _table(heading: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [heading, tuple("---" for _ in heading), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
