"""Data sets of every kind, from folders made for it."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torchvision import datasets

from i2e_triton import I2E, convert
from i2e_triton.formats import encode_records, save_npz
from i2e_triton.pipeline.manifest import Manifest
from i2e_triton.pipeline.plan import ConversionConfig
from i2e_triton.training.converted import as_converted
from i2e_triton.training.data import DataError, build_loaders, open_splits
from i2e_triton.training.distributed import Place
from i2e_triton.training.recipes import recipe
from tests.samples import resized_photograph
from tests.training.tiny import failure, rows, run

CIFAR10 = recipe("baseline2", "cifar10")
HERE = Place(torch.device("cpu"))


def png(seed: int) -> bytes:
    """A photograph of 32x32, moved by its seed so that no two are alike."""
    image = resized_photograph("chelsea", 32).roll(seed, 2)
    file = io.BytesIO()
    PIL.Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "PNG")
    return file.getvalue()


def write_parquet(folder: Path, classes: int, names: list[str] | None = None) -> None:
    """Write images as the hub serves CIFAR-10: one of each class for training, the same for validation."""
    folder.mkdir(parents=True)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for split in ("train", "test"):
        images = [{"bytes": png(label), "path": None} for label in range(classes)]
        table = pa.table({"img": pa.array(images, kind), "label": pa.array(range(classes), pa.int64())})
        if names:
            feature = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
            table = table.replace_schema_metadata({"huggingface": json.dumps(feature)})
        pq.write_table(table, folder / f"{split}.parquet")


def test_images_of_parquet_files(tmp_path: Path) -> None:
    write_parquet(tmp_path / "named", 3, ["a", "b", "c"])
    opened = open_splits(CIFAR10.changed(classes=3), tmp_path / "named")
    assert (len(opened.train), len(opened.validation), opened.classes, opened.events) == (3, 3, 3, False)
    image, label = opened.validation[2]
    assert label == 2
    assert torch.equal(image, resized_photograph("chelsea", 32).roll(2, 2))
    with pytest.raises(DataError, match="named has 3 classes, the network 10; train one with --class_number 3"):
        open_splits(CIFAR10, tmp_path / "named")
    write_parquet(tmp_path / "nameless", 3)
    assert open_splits(CIFAR10, tmp_path / "nameless").classes is None


def write_folders(folder: Path) -> None:
    """Write images of two classes as ImageNet's."""
    for split in ("train", "val"):
        for name in ("n01", "n02"):
            (folder / split / name).mkdir(parents=True)
            (folder / split / name / "a.png").write_bytes(png(1))


def test_images_in_class_folders(tmp_path: Path) -> None:
    write_folders(tmp_path)
    opened = open_splits(recipe("baseline2", "imagenet").changed(classes=2), tmp_path)
    assert (len(opened.train), opened.classes) == (2, 2)
    loaders = build_loaders(opened, recipe("baseline2", "imagenet").changed(batch_size=2, size=24), HERE, 0)
    images, labels = next(iter(loaders.validation))
    assert (images.dtype, images.shape, labels.tolist()) == (torch.uint8, (2, 3, 24, 24), [0, 1])
    assert next(iter(loaders.train))[0].shape == (2, 3, 24, 24)
    assert open_splits(CIFAR10.changed(classes=2), tmp_path).classes == 2
    (tmp_path / "val" / "n03").mkdir()
    (tmp_path / "val" / "n03" / "a.png").write_bytes(png(1))
    with pytest.raises(DataError, match="train and val do not have the same class folders"):
        open_splits(recipe("baseline2", "imagenet").changed(classes=2), tmp_path)


@pytest.mark.parametrize("beside", ["ILSVRC2012_img_val.tar", "manifest.json", "train/.DS_Store", "facts.parquet"])
def test_other_files_beside_class_folders_are_left_alone(tmp_path: Path, beside: str) -> None:
    write_folders(tmp_path)
    (tmp_path / beside).write_bytes(bytes(1024))
    opened = open_splits(recipe("baseline2", "imagenet").changed(classes=2), tmp_path)
    assert (len(opened.train), len(opened.validation), opened.events) == (2, 2, False)


def test_archives_alone_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "train" / "n01").mkdir(parents=True)
    for name in ("val", "train"):
        (tmp_path / f"ILSVRC2012_img_{name}.tar").write_bytes(bytes(1024))
    with pytest.raises(DataError, match="needs the folders train and val, each with a folder for each class"):
        open_splits(recipe("baseline2", "imagenet"), tmp_path)


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"nothing of the kind")
    with pytest.raises(DataError, match=r"train.parquet: not a Parquet file, or damaged"):
        open_splits(CIFAR10, tmp_path)


def write_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a CIFAR-10 of ten images as torchvision keeps it, and let torchvision take them for the real ones."""
    folder = root / datasets.CIFAR10.base_folder
    folder.mkdir(parents=True)
    batch = {"data": np.zeros((10, 3072), np.uint8), "labels": list(range(10))}
    files = {"data_batch_1": batch, "test_batch": batch, "batches.meta": {"label_names": list("abcdefghij")}}
    sums = {}
    for name, content in files.items():
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [["data_batch_1", sums["data_batch_1"]]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)


def test_cifar10_as_torchvision_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cifar10(tmp_path, monkeypatch)
    (tmp_path / "backup.tar").write_bytes(bytes(1024))
    opened = open_splits(CIFAR10, tmp_path)
    assert (len(opened.train), len(opened.validation), opened.classes, opened.events) == (10, 10, 10, False)
    image, label = opened.train[3]
    assert (image.size, label) == ((32, 32), 3)


def write_events(folder: Path, timesteps: int) -> torch.Tensor:
    """Write an event set as published on the hub; return the packed events of its rows."""
    images = torch.stack([resized_photograph("chelsea", 16).roll(shift, 2) for shift in range(4)])
    packed = convert(images, 0.07, timesteps=timesteps, packed=True)
    folder.mkdir()
    for split in ("train", "validation"):
        table = pa.table({"data": encode_records(packed, timesteps), "label": pa.array([0, 1, 2, 3], pa.int64())})
        table = table.replace_schema_metadata({"i2e.timesteps": str(timesteps)})
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    return packed


def test_events_of_the_hub(tmp_path: Path, tiny: None) -> None:
    packed = write_events(tmp_path / "events", 8)
    opened = open_splits(CIFAR10, tmp_path / "events")
    assert opened.events
    loaders = build_loaders(opened, CIFAR10.changed(batch_size=4), HERE, 0)
    events, labels = next(iter(loaders.validation))
    assert torch.equal(events, packed)
    assert labels.tolist() == [0, 1, 2, 3]
    run("--dataset", "cifar10", "--data", tmp_path / "events", "-bz", 4, "-e", 1, "-sp", tmp_path, "-n", "run")
    assert len(rows(tmp_path / "run" / "steps.csv")) == 1


def test_flags_for_images_are_refused_where_there_are_events(tmp_path: Path, tiny: None) -> None:
    write_events(tmp_path / "events", 8)
    flags = (
        "--ratio",
        0.2,
        "--shuffle",
        1,
        "--no-random",
        "--threshold",
        0.1,
        "--size",
        64,
        "--mixup",
        "--augmentation",
        "crop",
    )
    with pytest.raises(SystemExit) as error:
        run("--dataset", "cifar10", "--data", tmp_path / "events", *flags, "-sp", tmp_path, "-n", "run")
    assert failure(error) == (
        f"error: {tmp_path / 'events'} holds events, and --ratio, --shuffle, --no-random, --threshold, --size, "
        "--mixup, --augmentation can be followed for images only; leave that out"
    )
    assert not (tmp_path / "run").exists()


def test_a_run_says_how_its_events_were_converted(
    tmp_path: Path, tiny: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """And goes on, and its checkpoint has the order that the events have."""
    write_events(tmp_path / "events", 8)
    made = ConversionConfig(ratio=0.15, size=(16, 16), order=1, random_shifts=False).as_json()
    Manifest(settings=made, source={"bytes": 0}, classes=None, rows={}, complete=True).write(tmp_path / "events")
    flags = ("--dataset", "cifar10", "--data", tmp_path / "events", "-bz", 4, "-e", 1, "-sp", tmp_path, "-n", "run")
    run(*flags)
    printed = " ".join(capsys.readouterr().err.split())
    assert "ratio 0.15 order alpha-gamma-beta timesteps None random False" in printed
    assert "size 16 " in printed
    best = torch.load(tmp_path / "run" / "best.pt", weights_only=True)
    assert torch.equal(best["state_dict"]["i2e.weight"], I2E(0.15, 1).weight)
    run(*flags, "--resume")
    assert "going on with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "message"), [({"ratio": -1}, "ratio must be a number, 0 or more, got -1"), ({"size": 3}, "int")]
)
def test_a_manifest_that_cannot_be_is_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    settings = {**ConversionConfig(0.1).as_json(), **changed}
    Manifest(settings=settings, source={"bytes": 0}, classes=None, rows={}, complete=True).write(tmp_path)
    with pytest.raises(DataError, match=f"its manifest says nothing that could be of its events .*{message}"):
        as_converted(CIFAR10, tmp_path)


def test_a_manifest_of_something_else_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "an application"}')
    assert as_converted(CIFAR10, tmp_path) is CIFAR10
    assert as_converted(CIFAR10, tmp_path / "nothing") is CIFAR10
    assert as_converted(CIFAR10, None) is CIFAR10


def test_events_of_fewer_timesteps_are_not_taken_for_more(tmp_path: Path) -> None:
    write_events(tmp_path / "events", 4)
    with pytest.raises(DataError, match="holds events of 4 timesteps; set --timesteps 4"):
        open_splits(CIFAR10, tmp_path / "events")
    assert len(open_splits(CIFAR10.changed(timesteps=4), tmp_path / "events").train) == 4
    with pytest.raises(DataError, match="holds events, not images; a network that sees rgb needs images"):
        open_splits(CIFAR10.changed(timesteps=4, input="rgb"), tmp_path / "events")


@pytest.mark.parametrize(
    ("split", "names"), [("train", "train"), ("validation", "validation or val or test")], ids=("train", "validation")
)
def test_events_need_both_splits(tmp_path: Path, split: str, names: str) -> None:
    write_events(tmp_path / "events", 8)
    (tmp_path / "events" / f"{split}-00000-of-00001.parquet").unlink()
    with pytest.raises(DataError, match=f"events: a set of events needs a split {names}; .*events has no split"):
        open_splits(CIFAR10, tmp_path / "events")


def test_events_in_class_folders(tmp_path: Path) -> None:
    events = convert(resized_photograph("rocket", 16), 0.07, dtype=torch.bool)
    for split in ("train", "val"):
        for name in ("0", "1"):
            (tmp_path / split / name).mkdir(parents=True)
            save_npz(tmp_path / split / name / "3.npz", events)
    opened = open_splits(CIFAR10.changed(classes=2), tmp_path)
    assert (opened.events, len(opened.train), len(opened.validation)) == (True, 2, 2)
    assert torch.equal(opened.validation[1][0], convert(resized_photograph("rocket", 16), 0.07, packed=True))


def test_cifar10_dvs_as_spikingjelly_keeps_it(tmp_path: Path, tiny: None, generator: torch.Generator) -> None:
    """Frames that are there already: 10 recordings of 2 classes, event counts ``[T, 2, H, W]``."""
    (tmp_path / "dvs" / "events_np").mkdir(parents=True)
    frames = torch.randint(0, 5, (10, 8, 2, 16, 16), generator=generator).numpy().astype(np.float32)
    for label in range(10):
        folder = tmp_path / "dvs" / "frames_number_8_split_by_number" / f"class{label}"
        folder.mkdir(parents=True)
        for index in range(10):
            np.savez(folder / f"{index}.npz", frames=frames[index] + label)
    chosen = recipe("transfer2", "cifar10-dvs")
    opened = open_splits(chosen, tmp_path / "dvs")
    assert (len(opened.train), len(opened.validation), opened.classes, opened.events) == (90, 10, 10, True)
    recorded, label = opened.validation[3]
    assert label == 3
    assert torch.equal(recorded, torch.from_numpy(frames[9] + 3))
    assert opened.names == tuple(f"class{label}" for label in range(10))
    batch, labels = next(iter(build_loaders(opened, chosen, HERE, 0).validation))
    assert (batch.shape, labels.tolist()) == ((8, 10, 2, 16, 16), list(range(10)))
    assert torch.equal(batch[:, 3], recorded)  # timesteps first, as networks take them
    run("--dataset", "dvscifar10", "-dp", tmp_path / "dvs", "-bz", 30, "-e", 1, "-sp", tmp_path, "-n", "run")
    assert len(rows(tmp_path / "run" / "steps.csv")) == 3


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (
            "cifar10",
            "CIFAR10 is not there as torchvision keeps it; i2e train --dataset cifar10 --data .* --download fetches it",
        ),
        ("cifar100", "CIFAR100 is not there .*; i2e train --dataset cifar100 --data .* --download fetches it"),
        ("imagenet", "needs the folders train and val"),
        ("cifar10-dvs", "CIFAR10-DVS is not there as SpikingJelly keeps it; i2e train --dataset .* fetches it"),
    ],
)
def test_data_that_are_not_there_are_missed(tmp_path: Path, dataset: str, message: str) -> None:
    chosen = recipe(None, dataset)
    with pytest.raises(DataError, match=message):
        open_splits(chosen, tmp_path)
    with pytest.raises(DataError, match=f"no such folder; set --data to where {dataset} lies"):
        open_splits(chosen, tmp_path / "nothing")
    with pytest.raises(DataError, match=f"{dataset} needs --data PATH"):
        open_splits(chosen, None)
    assert list(tmp_path.iterdir()) == []


def test_only_what_can_be_fetched_is_advised_to_be(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"set --data to where cifar100 lies, or fetch it there with i2e train .* --down"
    ):
        open_splits(recipe(None, "cifar100"), tmp_path / "nothing")
    with pytest.raises(DataError, match=r"set --data to where imagenet lies$"):
        open_splits(recipe(None, "imagenet"), tmp_path / "nothing")
    with pytest.raises(DataError, match="imagenet cannot be fetched with --download; set --data to where it lies"):
        open_splits(recipe(None, "imagenet"), tmp_path / "nothing", download=True)
    assert list(tmp_path.iterdir()) == []


def test_no_network_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fail)
    with pytest.raises(DataError, match=r"CIFAR10 cannot be fetched \(no network\); bring .*new from elsewhere"):
        open_splits(CIFAR10, tmp_path / "new", download=True)
