"""Names of splits, and of the files that one is cut into, as the Hugging Face hub writes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

#: What a folder, or a part of a file's name, says about the split, as the official data sets call it.
SPLIT_NAMES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
#: ``train-00000-of-00013``; older files of the hub carry a fingerprint as well.
SHARD = re.compile(r"(?P<split>.+)-(?P<index>\d{5,})-of-(?P<count>\d{5,})(-[0-9a-f]{16})?")
#: ``0000``, in a folder with the name of the split.
NUMBERED = re.compile(r"\d+")


def check_shards(files: Sequence[Path]) -> None:
    """Check that of files of one split none is missing, as far as their names tell how many there are.

    Raises:
        ValueError: naming the folder, how many there are, and of how many.
    """
    shards = [SHARD.fullmatch(path.stem) for path in files]
    found = sorted(int(shard["index"]) for shard in shards if shard)
    counts = {int(shard["count"]) for shard in shards if shard}
    if counts and (len(counts) > 1 or found != list(range(max(counts)))):
        raise ValueError(
            f"{files[0].parent}: found {len(found)} shards of {' and '.join(map(str, sorted(counts)))}, like "
            f"{files[0].name}; finish the download or the conversion, or name the files to read"
        )
