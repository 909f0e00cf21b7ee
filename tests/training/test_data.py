"""Data sets of every kind, from folders made for it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from i2e_triton import convert
from i2e_triton.formats import encode_records, save_npz
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
    with pytest.raises(DataError, match="named has 3 classes, the network would have 10; set --class_number 3"):
        open_splits(CIFAR10, tmp_path / "named")
    write_parquet(tmp_path / "nameless", 3)
    assert open_splits(CIFAR10, tmp_path / "nameless").classes is None


def test_images_in_class_folders(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("n01", "n02"):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / "a.png").write_bytes(png(1))
    opened = open_splits(recipe("baseline2", "imagenet").changed(classes=2), tmp_path)
    assert (len(opened.train), opened.classes) == (2, 2)
    loaders = build_loaders(opened, recipe("baseline2", "imagenet").changed(batch_size=2, size=24), HERE, 0)
    images, labels = next(iter(loaders.validation))
    assert (images.dtype, images.shape, labels.tolist()) == (torch.uint8, (2, 3, 24, 24), [0, 1])
    assert next(iter(loaders.train))[0].shape == (2, 3, 24, 24)
    (tmp_path / "val" / "n03").mkdir()
    (tmp_path / "val" / "n03" / "a.png").write_bytes(png(1))
    with pytest.raises(DataError, match="train and val do not have the same class folders"):
        open_splits(recipe("baseline2", "imagenet").changed(classes=2), tmp_path)


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
    with pytest.raises(SystemExit) as error:
        run("--dataset", "cifar10", "--data", tmp_path / "events", "--mixup", "-sp", tmp_path, "-n", "mixed")
    assert "--mixup mixes images, and" in failure(error)


def test_events_of_fewer_timesteps_are_not_taken_for_more(tmp_path: Path) -> None:
    write_events(tmp_path / "events", 4)
    with pytest.raises(DataError, match="holds events of 4 timesteps; set --timesteps 4"):
        open_splits(CIFAR10, tmp_path / "events")
    assert len(open_splits(CIFAR10.changed(timesteps=4), tmp_path / "events").train) == 4
    with pytest.raises(DataError, match="holds events, not images; leave out --input rgb"):
        open_splits(CIFAR10.changed(timesteps=4, input="rgb"), tmp_path / "events")


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
    run("--dataset", "dvscifar10", "-dp", tmp_path / "dvs", "-bz", 30, "-e", 1, "-sp", tmp_path, "-n", "run")
    assert len(rows(tmp_path / "run" / "steps.csv")) == 3


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("cifar10", "CIFAR10 is not there as torchvision keeps it; add --download"),
        ("cifar100", "CIFAR100 is not there as torchvision keeps it; add --download"),
        ("imagenet", "needs the folders train and val"),
        ("cifar10-dvs", "CIFAR10-DVS is not there as SpikingJelly keeps it; add --download"),
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
