"""The options of ``i2e dataset``, checked before any work."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from i2e_triton.cli.options import checked_device, checked_ratio, checked_shifts, checked_size, wrong
from i2e_triton.cli.source_options import checked_kind
from i2e_triton.formats import check_bits
from i2e_triton.pipeline.dataset import Engine
from i2e_triton.pipeline.local_engine import EngineOptions, convert_shards
from i2e_triton.pipeline.plan import FORMATS, ConversionConfig
from i2e_triton.shifts import ORDERS
from i2e_triton.sources import PRESETS, RESIZE_RULES, Preset, Source, check_resize, find_kind, open_source, splits
from i2e_triton.sources.torchvision_sets import FOLDERS

CODECS = ("zstd", "snappy", "gzip", "lz4", "none")
ENGINES = ("local", "ray")
ORDERS_BY_NUMBER = tuple(ORDERS)
_DEFAULT_RATIO = 0.12


@dataclass(frozen=True)
class Request:
    """The options as they were given; None where one was left out."""

    preset: str | None
    kind: str | None
    split: str | None
    download: bool
    size: tuple[int, int] | None
    resize: str | None
    ratio: float | None
    order: str
    timesteps: int
    random_shifts: bool
    seed: int
    format: str
    bits: str
    compression: str | None
    rows_per_shard: int
    workers: int
    batch_size: int
    device: str
    engine: str


def check_settings(request: Request) -> ConversionConfig:
    """Check what decides the bytes of the result, filled up from the preset.

    Raises:
        typer.BadParameter: naming the option, its value and what would be right.
    """
    preset = checked_preset(request.preset)
    ratio, size, resize = request.ratio, request.size, request.resize
    if preset is not None:
        ratio = preset.ratio if ratio is None else ratio
        size = preset.size if size is None else size
        resize = preset.resize if resize is None else resize
    checked_shifts(request.order, request.timesteps)
    if not 0 <= request.seed < 2**63:
        raise wrong("--seed", f"must be 0 to 2**63 - 1, got {request.seed}")
    return ConversionConfig(
        ratio=checked_ratio(_DEFAULT_RATIO if ratio is None else ratio),
        size=checked_size(size),
        resize=checked_resize(size, resize or RESIZE_RULES[0]),
        order=ORDERS_BY_NUMBER[int(request.order)] if request.order.isdecimal() else request.order,
        timesteps=request.timesteps,
        random_shifts=request.random_shifts,
        seed=request.seed if request.random_shifts else 0,
        format=_one_of("--format", request.format, FORMATS),
        bits=_bits(request),
        compression=_compression(request),
        rows_per_shard=_at_least("--rows-per-shard", request.rows_per_shard, 1),
    )


def checked_resize(size: tuple[int, int] | None, rule: str) -> str:
    """Check ``--resize``, for the size that it must give."""
    try:
        check_resize(size, rule)
    except ValueError as error:
        raise wrong("--resize", str(error)) from error
    return rule


def check_engine(request: Request) -> Engine:
    """Check what decides how the work is done.

    Raises:
        typer.BadParameter: naming the option, its value and what would be right.
    """
    engine = _one_of("--engine", request.engine, ENGINES)
    workers = _at_least("--workers", request.workers, 0)
    # A shard's thread encodes and compresses about as fast as a few workers decode.
    shard_writers = max(1, workers // 4)
    device = checked_device(request.device) if engine == "local" else _device_of_actors(request.device)
    options = EngineOptions(workers, _at_least("--batch-size", request.batch_size, 1), device, shard_writers)
    if engine == "local":
        return partial(convert_shards, options=options)
    try:
        from i2e_triton.pipeline.ray_engine import convert_shards_with_ray
    except ModuleNotFoundError as error:
        raise wrong("--engine", f"ray needs the package {error.name}: pip install 'i2e-triton[ray]'") from error
    return partial(convert_shards_with_ray, options=options)


def _device_of_actors(name: str) -> torch.device:
    """Check ``--device`` for Ray, which knows where GPUs are and gives each actor one."""
    if name not in ("cpu", "cuda"):
        raise wrong("--device", f"must be cpu or cuda with --engine ray, which hands out the GPUs; got {name!r}")
    return torch.device(name)


def kind_of(location: str, request: Request) -> str:
    """Return ``--kind``, or else what the preset or the files say.

    Raises:
        typer.BadParameter: if the kind is unknown.
        SourceError: if nothing is there.
    """
    preset = checked_preset(request.preset)
    return checked_kind(request.kind) or find_kind(location, None if preset is None else preset.kind)


def open_sources(kind: str, location: str, request: Request) -> dict[str, Source]:
    """Open the splits of the source that are asked for; all without ``--split``.

    Raises:
        typer.BadParameter: if a split is unknown.
        SourceError: if the source is not there, or not what it should be.
    """
    preset = checked_preset(request.preset)
    if request.download and kind not in FOLDERS:
        raise wrong("--download", f"is for torchvision's data sets ({', '.join(FOLDERS)}); SOURCE is of kind {kind}")
    names = splits(location, kind)
    if request.split is not None:
        names = (_one_of("--split", request.split, names),)
    renamed = {} if preset is None else preset.splits
    # A source may have splits of both names: then each keeps its own.
    published = {name: name if renamed.get(name) in names else renamed.get(name, name) for name in names}
    where = str(Path(location).expanduser().absolute())  # for processes that work elsewhere
    return {published[name]: open_source(where, kind=kind, split=name, download=request.download) for name in names}


def check_places(kind: str, location: str, out: Path, log: Path | None) -> None:
    """Check that nothing is written where the next run would take it for a part of the source, or of the result.

    Raises:
        typer.BadParameter: naming the option and its value.
    """
    source, result = (Path(location).expanduser() / FOLDERS.get(kind, "")).resolve(), out.resolve()
    if source in (result, *result.parents):
        raise wrong("--out", f"must lie outside of SOURCE, which it would change; got {out} in {location}")
    if log is not None and result in log.resolve().parents:
        raise wrong("--log", f"must lie outside of OUT, which holds the data set alone; got {log}")


def checked_preset(name: str | None) -> Preset | None:
    """Return the preset of ``--preset``."""
    return None if name is None else PRESETS[_one_of("--preset", name, tuple(PRESETS))]


def _bits(request: Request) -> str:
    try:
        bits = check_bits(request.bits)
    except ValueError as error:
        raise wrong("--bits", str(error)) from error
    if request.format == "npz" and bits != "official":
        raise wrong("--bits", "npz files hold official bits only: use official, or another --format")
    return bits


def _compression(request: Request) -> str:
    """Return Parquet's codec; the other formats have their own way."""
    if request.format == "parquet":
        return _one_of("--compression", request.compression or "zstd", CODECS)
    if request.compression is not None:
        own = {"npz": "npz files are deflated", "tar": "tars stay uncompressed, so that readers can seek in them"}
        raise wrong("--compression", f"is Parquet's: {own[request.format]}")
    return "none"


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        names = " or ".join(filter(None, [", ".join(allowed[:-1]), allowed[-1]]))
        raise wrong(option, f"must be {names}; got {value!r}")
    return value


def _at_least(option: str, value: int, least: int) -> int:
    if value < least:
        raise wrong(option, f"must be at least {least}, got {value}")
    return value
