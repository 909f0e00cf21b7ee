"""The configuration of a data set conversion, and its division into shards."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from i2e_triton.shifts import DEFAULT_ORDER

FORMATS = ("parquet", "npz", "tar")
ROWS_PER_SHARD = 4096


@dataclass(frozen=True)
class ConversionConfig:
    """Everything besides the source that determines the bytes of a converted data set."""

    ratio: float
    size: tuple[int, int] | None = None  #: height and width in pixels; None keeps the size of each image
    resize: str = "bicubic"  #: one of `i2e_triton.sources.RESIZE_RULES`
    order: str | int = DEFAULT_ORDER
    timesteps: int = 8
    random_shifts: bool = False  #: draw the motion vectors of each row at random; False uses the canonical ones
    seed: int = 0  #: seed of the random motion vectors
    format: str = "parquet"  #: one of :data:`FORMATS`
    bits: str = "official"  #: one of `i2e_triton.formats.BITS`
    compression: str = "zstd"  #: Parquet codec
    rows_per_shard: int = ROWS_PER_SHARD

    def __post_init__(self) -> None:
        from i2e_triton.formats import check_bits  # here, because i2e --help imports this module

        object.__setattr__(self, "bits", check_bits(self.bits))

    @property
    def stored_bits(self) -> str:
        """Return ``bits`` as manifests and Parquet metadata spell it: ``"published"`` for ``"official"``.

        Version 0.1 wrote this spelling. With another one, its data sets could not be resumed.
        """
        return "published" if self.bits == "official" else self.bits

    @staticmethod
    def from_json(settings: dict[str, Any]) -> ConversionConfig:
        """Return the configuration whose :meth:`as_json` is ``settings``."""
        size = settings["size"]
        names = {field.name for field in fields(ConversionConfig)}
        known = {name: value for name, value in settings.items() if name in names}
        return ConversionConfig(**{**known, "size": None if size is None else tuple(size)})

    def as_json(self) -> dict[str, Any]:
        """Return the values that the manifest stores, and that must be the same to resume."""
        stored = {**asdict(self), "size": None if self.size is None else list(self.size), "bits": self.stored_bits}
        # Earlier versions named the folders of npz files after the classes. Readers need to know.
        return {**stored, "folders": "labels"} if self.format == "npz" else stored


@dataclass(frozen=True)
class Shard:
    """Rows ``start`` to ``stop`` of a split: the unit that is converted, recorded and resumed."""

    split: str
    index: int
    of: int  #: number of shards of the split
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Return the name without a suffix, in the style of the Hugging Face hub."""
        return f"{self.split}-{self.index:05d}-of-{self.of:05d}"


def plan_shards(rows: dict[str, int], rows_per_shard: int) -> list[Shard]:
    """Return the shards of all splits.

    Args:
        rows: number of rows of each split. An empty split gets one empty shard.
        rows_per_shard: number of rows of every shard but the last of a split.
    """
    shards = []
    for split, total in rows.items():
        count = max(1, -(-total // rows_per_shard))
        for index in range(count):
            start = index * rows_per_shard
            shards.append(Shard(split, index, count, start, min(start + rows_per_shard, total)))
    return shards
