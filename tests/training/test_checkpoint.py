"""Files that are asked to be gone on with: old, damaged, hostile."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from i2e_triton.training.checkpoint import BEST, LAST, PREVIOUS, DamagedError, read_last, read_whole, save_last
from i2e_triton.training.published import CheckpointError
from tests.training.tiny import failure, run

START = {"next_epoch": 1, "state_dict": {"weight": torch.arange(30.0)}}


class Runs:
    """What runs when a pickle is read without care."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def as_before_1_6(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def as_plain_pickle(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize("name", ["last.pt", "other.pt"])
@pytest.mark.parametrize("write", [torch.save, as_before_1_6, as_plain_pickle])
def test_what_asks_for_code_is_refused_and_not_called_damaged(
    write: Callable[[Any, Path], None], name: str, tmp_path: Path, tiny: None
) -> None:
    file, trace = tmp_path / name, tmp_path / "trace"
    save_last(tmp_path, START)
    (tmp_path / LAST).rename(tmp_path / PREVIOUS)  # no way round
    write({**START, "epoch": Runs(trace)}, file)
    with pytest.raises(SystemExit) as error:
        run("--dataset", "fake", "-sp", tmp_path, "--resume", file)
    assert f"{name}: may ask for code to be run, and is refused; only tensors" in failure(error)
    assert not trace.exists()


def test_files_of_before_pytorch_1_6_are_read(tmp_path: Path) -> None:
    file = tmp_path / "epoch3.pth.tar"
    as_before_1_6(START, file)
    assert torch.equal(read_whole(file)["state_dict"]["weight"], START["state_dict"]["weight"])  # type: ignore[index]
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(DamagedError, match=r"epoch3\.pth\.tar: damaged or no checkpoint"):
        read_whole(file)


def test_every_wrong_byte_is_damage_or_harmless(tmp_path: Path, generator: torch.Generator) -> None:
    """In what the file holds and in what tells where that lies."""
    save_last(tmp_path, START)
    whole = (tmp_path / LAST).read_bytes()
    directory = whole.index(b"PK\1\2")
    places = [*torch.randint(directory, (40,), generator=generator).tolist(), *range(directory, len(whole), 3)]
    found = 0
    for place in places:
        wrong = bytearray(whole)
        wrong[place] ^= 1 << int(torch.randint(1, 8, (), generator=generator))
        (tmp_path / BEST).write_bytes(wrong)
        try:
            assert torch.equal(read_whole(tmp_path / BEST)["state_dict"]["weight"], torch.arange(30.0))
        except CheckpointError:
            found += 1
    assert found > len(places) / 3


def test_a_member_that_looks_like_a_folder_is_damage(tmp_path: Path) -> None:
    """PyTorch then leaves the memory of its tensor as it was, and the checksums are right."""
    save_last(tmp_path, START)
    wrong = bytearray((tmp_path / LAST).read_bytes())
    wrong[wrong.rindex(b"/data/0") - len("archive") - 8] ^= 0x10
    (tmp_path / LAST).write_bytes(wrong)
    with zipfile.ZipFile(tmp_path / LAST) as archive:
        assert [info.filename for info in archive.infolist() if info.external_attr] == ["archive/data/0"]
    with pytest.raises(DamagedError, match="data/0 is not what was written"):
        read_whole(tmp_path / LAST)


def test_the_one_before_is_read_where_the_last_is_damaged(tmp_path: Path) -> None:
    for epoch in (1, 2):
        save_last(tmp_path, {**START, "next_epoch": epoch})
    path, state, problem = read_last(tmp_path)
    assert (path.name, state["next_epoch"], problem) == (LAST, 2, None)
    (tmp_path / LAST).write_bytes(bytes(2000))
    path, state, problem = read_last(tmp_path)
    assert (path.name, state["next_epoch"]) == (PREVIOUS, 1)
    assert problem is not None
    assert "last.pt: damaged" in problem
