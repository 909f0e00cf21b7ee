"""What a data set becomes: the settings that decide every byte, and the shards that its rows fall into."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from i2e_triton.formats import check_bits
from i2e_triton.shifts import DEFAULT_ORDER

FORMATS = ("parquet", "npz", "tar")
ROWS_PER_SHARD = 4096


@dataclass(frozen=True)
class Settings:
    """All that decides the bytes of a converted data set, besides its source."""

    ratio: float
    size: tuple[int, int] | None = None  #: height and width in pixels; None keeps each image's own
    resize: str = "bicubic"  #: one of `i2e_triton.sources.RESIZE_RULES`
    order: str | int = DEFAULT_ORDER
    timesteps: int = 8
    random_shifts: bool = False  #: draw motion vectors for each row; else the canonical ones
    seed: int = 0  #: of the random motion vectors
    format: str = "parquet"
    bits: str = "official"  #: one of `i2e_triton.formats.BITS`
    compression: str = "zstd"
    rows_per_shard: int = ROWS_PER_SHARD

    def __post_init__(self) -> None:
        object.__setattr__(self, "bits", check_bits(self.bits))

    def as_json(self) -> dict[str, Any]:
        """Return what a manifest keeps and compares."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Shard:
    """Rows ``start`` to ``stop`` of a split, which are written, checked and resumed as one."""

    split: str
    index: int
    of: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Name without a suffix, as the Hugging Face hub writes it."""
        return f"{self.split}-{self.index:05d}-of-{self.of:05d}"

    def pieces(self, rows: int) -> Iterator[Piece]:
        """Cut the shard into pieces of at most so many rows; an empty shard is one empty piece."""
        for start in range(self.start, max(self.stop, self.start + 1), rows):
            yield Piece(self, start, min(start + rows, self.stop))


@dataclass(frozen=True)
class Piece:
    """Rows ``start`` to ``stop`` of a shard: what is read and converted at a time."""

    shard: Shard
    start: int
    stop: int

    @property
    def last(self) -> bool:
        """Whether the shard ends with it."""
        return self.stop == self.shard.stop


def plan_shards(rows: dict[str, int], rows_per_shard: int) -> list[Shard]:
    """List the shards of all splits, given their numbers of rows; an empty split has one empty shard."""
    shards = []
    for split, total in rows.items():
        count = max(1, -(-total // rows_per_shard))
        for index in range(count):
            start = index * rows_per_shard
            shards.append(Shard(split, index, count, start, min(start + rows_per_shard, total)))
    return shards
