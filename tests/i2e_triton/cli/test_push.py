"""``i2e push`` uploads a converted data set to a hub on 127.0.0.1."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import DatasetCard, snapshot_download

from i2e_triton.cli import push
from i2e_triton.datasets import EventDataset
from tests.i2e_triton.cli.conftest import I2E
from tests.i2e_triton.datasets.conftest import hub as hub
from tests.i2e_triton.datasets.hub_server import Hub
from tests.i2e_triton.sources.builders import noise_image
from tests.samples import assert_same_events

REPOSITORY = "someone/photos-events"
FILES = {"README.md", "manifest.json", "train-00000-of-00002.parquet", "train-00001-of-00002.parquet"}


@pytest.fixture
def converted(i2e: I2E, tmp_path: Path, generator: torch.Generator) -> Path:
    """Return a data set of 5 images in two shards."""
    for number in range(5):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise_image(generator, 8, 8).save(path)
    out = tmp_path / "converted"
    assert i2e("dataset", tmp_path / "photos", "-o", out, "--rows-per-shard", 3, "--workers", 0).status == 0
    return out


def test_upload_can_be_loaded(i2e: I2E, hub: Hub, converted: Path) -> None:
    done = i2e("push", converted, REPOSITORY, "--license", "cc-by-4.0", "--private", "--yes")
    assert done.status == 0, done.err
    assert "create the private repository someone/photos-events (license cc-by-4.0)" in done.out
    assert done.out.splitlines()[-1] == f"uploaded to {hub.url}/datasets/{REPOSITORY}"
    assert set(hub.repositories[REPOSITORY]) == FILES
    assert hub.created[0].get("private", hub.created[0].get("visibility") == "private")
    folder = snapshot_download(REPOSITORY, repo_type="dataset")
    assert i2e("dataset", "verify", folder).status == 0
    dataset = EventDataset(folder, "train", dtype=torch.bool)
    original = EventDataset(converted, dtype=torch.bool)
    assert (dataset.classes, dataset.targets) == (["a", "b"], original.targets)
    for row in range(5):
        assert_same_events(dataset[row][0], original[row][0])


def test_card_states_licence_settings_rates_and_how_to_load(i2e: I2E, hub: Hub, converted: Path) -> None:
    assert i2e("push", converted, REPOSITORY, "--license", "mit", "--yes").status == 0
    card = DatasetCard(hub.repositories[REPOSITORY]["README.md"].decode())
    assert card.data.to_dict() == {
        "license": "mit",
        "pretty_name": "photos-events",
        "tags": ["event-camera", "i2e", "neuromorphic", "spiking-neural-networks"],
        "task_categories": ["image-classification"],
        "size_categories": ["n<1K"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "train-*.parquet"}]}],
    }
    manifest = json.loads((converted / "manifest.json").read_text())
    on, off = manifest["event_rate"][7]
    for line in (
        'folder = snapshot_download("someone/photos-events", repo_type="dataset")',
        'dataset = EventDataset(folder, "train")',
        "| ratio | 0.12 |",
        "| size | of each image |",
        "| motion vectors | canonical |",
        "| records | official bits, zstd compression |",
        "| classes | 2 |",
        f"| 7 | {on:.2%} | {off:.2%} |",
    ):
        assert line in card.text.splitlines(), line
    assert "| train | 5 | 2 |" in card.text


@pytest.mark.parametrize("answer", ["n\n", ""])
def test_nothing_is_changed_before_the_user_agrees(
    answer: str, i2e: I2E, hub: Hub, converted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    done = i2e("push", converted, REPOSITORY, "--license", "mit")
    assert done.status == 1
    assert "upload 3 files" in done.out
    assert "train-00000-of-00002.parquet" in done.out
    assert hub.repositories == {}
    assert not [line for line in hub.log if not line.startswith("GET")]


def test_old_shards_are_deleted(i2e: I2E, hub: Hub, converted: Path) -> None:
    old = {"train-00000-of-00001.parquet": b"old", "notes.txt": b"kept", "README.md": b"old"}
    hub.repositories[REPOSITORY] = dict(old)
    done = i2e("push", converted, REPOSITORY, "--license", "mit", "--yes")
    assert done.status == 0, done.err
    assert f"update {REPOSITORY}" in done.out
    assert "delete 1 shards of an earlier upload: train-00000-of-00001.parquet" in done.out
    assert set(hub.repositories[REPOSITORY]) == FILES | {"notes.txt"}
    assert hub.repositories[REPOSITORY]["README.md"] != b"old"


def test_tars_are_uploaded(i2e: I2E, hub: Hub, converted: Path, tmp_path: Path) -> None:
    out = tmp_path / "tars"
    assert i2e("dataset", tmp_path / "photos", "-o", out, "--format", "tar", "--workers", 0).status == 0
    assert i2e("push", out, REPOSITORY, "--license", "mit", "--yes").status == 0
    assert set(hub.repositories[REPOSITORY]) == {"README.md", "manifest.json", "train-00000-of-00001.tar"}


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("incomplete", "has no complete manifest.json"),
        ("npz", "has one npz file per image"),
        ("truncated", "train-00001-of-00002 is missing or damaged; see i2e dataset verify"),
    ],
)
def test_data_set_that_cannot_be_shared_is_refused(
    case: str, message: str, i2e: I2E, hub: Hub, converted: Path, tmp_path: Path
) -> None:
    if case == "incomplete":
        (converted / "manifest.json").unlink()
    elif case == "npz":
        converted = tmp_path / "npz"
        i2e("dataset", tmp_path / "photos", "-o", converted, "--format", "npz", "--workers", 0)
    else:
        path = converted / "train-00001-of-00002.parquet"
        path.write_bytes(path.read_bytes()[:-1])
    done = i2e("push", converted, REPOSITORY, "--license", "mit", "--yes")
    assert done.status == 1
    assert message in done.err
    assert hub.log == []


def test_licence_and_repository_must_be_valid(i2e: I2E, hub: Hub, converted: Path) -> None:
    for arguments, option in (
        ((REPOSITORY,), "--license"),
        ((REPOSITORY, "--license", "CC BY"), "--license"),
        (("photos", "--license", "mit"), "OWNER/NAME"),
    ):
        done = i2e("push", converted, *arguments, "--yes")
        assert done.status == 2
        assert option in done.err
    assert hub.log == []


@pytest.mark.parametrize(("status", "message"), [(401, "hf auth login"), (500, "500")])
def test_refusal_names_the_reason(status: int, message: str, i2e: I2E, hub: Hub, converted: Path) -> None:
    hub.status = status
    done = i2e("push", converted, REPOSITORY, "--license", "mit", "--yes")
    assert done.status == 1
    assert message in done.err
    assert "Traceback" not in done.err


def test_interrupted_transfer_is_repeated(i2e: I2E, hub: Hub, converted: Path) -> None:
    hub.drop_once = "/upload/"
    assert i2e("push", converted, REPOSITORY, "--license", "mit", "--yes").status == 0
    assert len([line for line in hub.log if line.startswith("PUT /upload/")]) == 3
    assert set(hub.repositories[REPOSITORY]) == FILES


@pytest.mark.parametrize("silent_on", ["/api/datasets", "/upload/", "/commit/"])
def test_server_that_does_not_answer_ends_in_an_error(
    silent_on: str, i2e: I2E, hub: Hub, converted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "_TIMEOUT_S", 0.3)
    hub.silent_on = silent_on
    done = i2e("push", converted, REPOSITORY, "--license", "mit", "--yes")
    assert done.status == 1
    assert "time" in done.err.lower()
    hub.silent_on = None
    monkeypatch.setattr(push, "_TIMEOUT_S", 10)
    assert i2e("push", converted, REPOSITORY, "--license", "mit", "--yes").status == 0
    assert set(hub.repositories[REPOSITORY]) == FILES
