"""Downloads of the official data sets from a hub on 127.0.0.1."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants, snapshot_download
from huggingface_hub.utils import tqdm as hub_tqdm
from torch import Tensor

from i2e_triton.datasets import RecordError
from i2e_triton.datasets.download import REPOSITORY
from tests.i2e_triton.datasets.hub_server import Hub
from tests.i2e_triton.datasets.small_set import Small, write_small
from tests.samples import assert_same_events

FILES = [f"I2E-Small/validation-{shard:05d}-of-00002.parquet" for shard in range(2)]


@pytest.fixture
def events(hub: Hub, tmp_path: Path, generator: torch.Generator) -> Tensor:
    """Put the small data set on the hub and return the events of its validation split."""
    source = tmp_path / "source"
    events = write_small(source, generator)
    write_small(source, generator, "train")
    paths = sorted(source.rglob("*.parquet"))
    hub.repositories[REPOSITORY] = {str(path.relative_to(source)): path.read_bytes() for path in paths}
    return events


def transfers(hub: Hub) -> list[str]:
    return [line.split("/")[-1] for line in hub.log if line.startswith("GET /cdn/")]


def assert_holds(dataset: Small, events: Tensor) -> None:
    assert_same_events(torch.stack([dataset[row][0] for row in range(len(dataset))]), events.float())


def test_split_is_downloaded_once(hub: Hub, events: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, shown = tmp_path / "data", []
    monkeypatch.setattr(hub_tqdm, "update", lambda bar, count=1: shown.append(count))  # the progress bars
    assert_holds(Small(root, train=False, download=True), events)
    assert sum(shown) == sum(len(hub.repositories[REPOSITORY][path]) for path in FILES)
    assert transfers(hub) == [path.split("/")[-1] for path in FILES]
    assert [(root / path).read_bytes() for path in FILES] == [hub.repositories[REPOSITORY][path] for path in FILES]
    requests = len(hub.log)
    assert_holds(Small(root, train=False, download=True), events)
    assert_holds(Small(root, train=False), events)
    assert len(hub.log) == requests


def test_files_in_the_cache_are_used_without_network(hub: Hub, events: Tensor, tmp_path: Path) -> None:
    snapshot = Path(snapshot_download(REPOSITORY, repo_type="dataset", allow_patterns="*/validation*"))
    requests = len(hub.log)
    dataset = Small(tmp_path / "data", train=False, download=True)
    assert_holds(dataset, events)
    assert dataset.location == snapshot / "I2E-Small"
    assert len(hub.log) == requests
    assert len(Small(tmp_path / "data", download=True)) == 7  # the cache does not have this split
    assert len(hub.log) > requests


def test_interrupted_transfer_is_resumed(hub: Hub, events: Tensor, tmp_path: Path) -> None:
    hub.cut_after = 1000
    assert_holds(Small(tmp_path, train=False, download=True), events)
    assert transfers(hub)[:2] == ["validation-00000-of-00002.parquet", "validation-00000-of-00002.parquet bytes=1000-"]


def test_download_after_an_interruption_continues(
    hub: Hub, events: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the second file: the next run keeps the first file and resumes the second."""
    update = hub_tqdm.update

    def interrupt(bar: object, count: int = 1) -> object:
        if len(transfers(hub)) == 2:
            raise KeyboardInterrupt
        return update(bar, count)

    monkeypatch.setattr(hub_tqdm, "update", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Small(tmp_path, train=False, download=True)
    monkeypatch.setattr(hub_tqdm, "update", update)
    with pytest.raises(FileNotFoundError, match="found 1 of 2 shards"):
        Small(tmp_path, train=False)
    assert_holds(Small(tmp_path, train=False, download=True), events)
    assert [name.split(" ")[0] for name in transfers(hub)[2:]] == ["validation-00001-of-00002.parquet"]


@pytest.mark.parametrize("difference", [-10, 10])
def test_wrong_size_raises(difference: int, hub: Hub, events: Tensor, tmp_path: Path) -> None:
    hub.resize = difference
    with pytest.raises(OSError, match=r"should be of size [0-9]+ but has size"):
        Small(tmp_path, train=False, download=True)
    assert not list(tmp_path.glob("I2E-Small/*.parquet"))


def test_changed_file_below_the_root_raises(hub: Hub, events: Tensor, tmp_path: Path) -> None:
    root = tmp_path / "data"
    Small(root, train=False, download=True)
    (root / FILES[0]).write_bytes((root / FILES[0]).read_bytes()[:-10])
    with pytest.raises(RecordError, match=r"validation-00000-of-00002.parquet: not a Parquet file, or damaged"):
        Small(root, train=False)


@pytest.mark.parametrize(
    ("status", "message"), [(401, "401.*hf auth login, or set HF_TOKEN"), (404, "404"), (500, "500")]
)
def test_refusal_names_the_reason_and_the_files(
    status: int, message: str, hub: Hub, events: Tensor, tmp_path: Path
) -> None:
    hub.status = status
    with pytest.raises(OSError, match=message) as raised:
        Small(tmp_path, train=False, download=True)
    text = str(raised.value)
    assert f"I2E-Small (validation) could not be downloaded from {hub.url}/datasets/{REPOSITORY}: " in text
    assert f"put the files I2E-Small/validation*.parquet of {hub.url}" in text
    assert text.endswith(f"into {tmp_path / 'I2E-Small'}")


def test_token_is_sent(hub: Hub, events: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "hf_secret"
    with pytest.raises(OSError, match="401"):
        Small(tmp_path, train=False, download=True)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert_holds(Small(tmp_path, train=False, download=True), events)


def test_missing_repository_and_missing_split_raise(hub: Hub, events: Tensor, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"the repository has no file I2E-Small/test\*.parquet"):
        Small(tmp_path, split="test", download=True)
    hub.repositories.clear()
    with pytest.raises(OSError, match="RepositoryNotFoundError: 404"):
        Small(tmp_path, train=False, download=True)


@pytest.mark.parametrize("silent_on", ["/api/", "/resolve/", "/cdn/"])
def test_server_that_does_not_answer_ends_in_an_error(silent_on: str, hub: Hub, events: Tensor, tmp_path: Path) -> None:
    hub.silent_on = silent_on
    with pytest.raises(OSError, match="could not be downloaded") as raised:
        Small(tmp_path, train=False, download=True)
    hub.silent_on = None
    causes = [raised.value.__cause__, getattr(raised.value.__cause__, "__cause__", None)]
    assert any("Timeout" in type(cause).__name__ for cause in causes)
    assert_holds(Small(tmp_path, train=False, download=True), events)


def test_offline_mode_uses_the_network_for_nothing(
    hub: Hub, events: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=r"(?i)offline"):
        Small(tmp_path, train=False, download=True)
    assert hub.log == []


def test_missing_files_are_named(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Pass download=True, or put the files") as raised:
        Small(tmp_path)
    assert f"put the files I2E-Small/train*.parquet of {hub.url}/datasets/{REPOSITORY}" in str(raised.value)
    assert hub.log == []


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(FileNotFoundError, match="Pass download=True"):
        Small(tmp_path)
    with pytest.raises(ModuleNotFoundError, match=r"^download=True needs the package huggingface_hub: pip .*\[hub\]'$"):
        Small(tmp_path, download=True)


@pytest.mark.slow
def test_environment_variables_are_honoured(hub: Hub, events: Tensor, tmp_path: Path) -> None:
    """In a new process, because huggingface_hub reads them when it is imported."""
    module = "tests.i2e_triton.datasets.small_set"
    code = f"from {module} import Small; print(len(Small({str(tmp_path)!r}, False, download=True)))"
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    offline = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert "OfflineModeIsEnabled" in offline.stderr
    assert hub.log == []
    environment["HF_HUB_OFFLINE"] = "0"
    online = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert online.stdout == "4\n"
    assert len(transfers(hub)) == 2
