from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision import datasets

from i2e_triton.sources.source import ImageRow, SourceError
from i2e_triton.sources.torchvision_sets import FOLDERS, open_torchvision, torchvision_splits
from tests.i2e_triton.sources.builders import assert_holds, encoded, noise_image, png
from tests.samples import noise

CIFAR_FILES = {
    "cifar10": ([f"data_batch_{n}" for n in range(1, 6)], "test_batch", "batches.meta", "labels", "label_names"),
    "cifar100": (["train"], "test", "meta", "fine_labels", "fine_label_names"),
}


class Cifar:
    """A small CIFAR data set on disk. torchvision's checksums are replaced by those of its files."""

    def __init__(self, kind: str, root: Path, generator: torch.Generator, patch: pytest.MonkeyPatch) -> None:
        train, test, meta, self._labels, names = CIFAR_FILES[kind]
        self.folder = root / FOLDERS[kind]
        self.folder.mkdir()
        known: Any = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[kind]
        batches = {name: self._batch(generator) for name in (*train, test)}
        patch.setattr(known, "train_list", [(name, self._write(name, batches[name])) for name in train])
        patch.setattr(known, "test_list", [(test, self._write(test, batches[test]))])
        checksum = self._write(meta, {names: ["cat", "dog", "emu"]})
        patch.setattr(known, "meta", {"filename": meta, "key": names, "md5": checksum})
        self.rows = {"train": self._rows([batches[name] for name in train]), "validation": self._rows([batches[test]])}

    def _batch(self, generator: torch.Generator) -> dict[str, Any]:
        pixels = noise((3, 3072), torch.uint8, generator).numpy()
        return {"data": pixels, self._labels: torch.randint(3, (3,), generator=generator).tolist()}

    def _write(self, name: str, content: object) -> str:
        data = pickle.dumps(content, protocol=2)
        (self.folder / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    def _rows(self, batches: list[dict[str, Any]]) -> list[ImageRow]:
        pixels = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
        labels = [label for batch in batches for label in batch[self._labels]]
        images = [PIL.Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))) for image in pixels]
        return [ImageRow(str(n), image, label) for n, (image, label) in enumerate(zip(images, labels))]


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("kind", CIFAR_FILES)
def test_cifar_rows_equal_torchvision(
    kind: str, split: str, tmp_path: Path, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    cifar = Cifar(kind, tmp_path, generator, monkeypatch)
    source = open_torchvision(kind, tmp_path, split, download=False)
    assert source.classes == ("cat", "dog", "emu")
    assert_holds(source, cifar.rows[split])
    assert source.nbytes() == 3072 * len(cifar.rows[split])
    assert len(pickle.dumps(source)) < 1000
    other = "validation" if split == "train" else "train"
    assert open_torchvision(kind, tmp_path, split, download=True).fingerprint() == source.fingerprint()
    assert open_torchvision(kind, tmp_path, other, download=False).fingerprint() != source.fingerprint()


class CreatesFileWhenUnpickled:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_modified_pickle_raises_before_it_is_loaded(
    name: str, tmp_path: Path, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    cifar = Cifar("cifar10", tmp_path, generator, monkeypatch)
    (cifar.folder / name).write_bytes(pickle.dumps(CreatesFileWhenUnpickled(tmp_path / "created")))
    with pytest.raises(SourceError, match=r"cifar10 in .*cifar-10-batches-py is incomplete or damaged.*--download"):
        open_torchvision("cifar10", tmp_path, "train", download=False)
    assert not (tmp_path / "created").exists()


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.tobytes())


def write_mnist(folder: Path, generator: torch.Generator) -> dict[str, list[ImageRow]]:
    folder.mkdir(parents=True)
    rows = {}
    for split, name, count in (("train", "train", 7), ("validation", "t10k", 3)):
        pixels = noise((count, 28, 28), torch.uint8, generator).numpy()
        labels = torch.randint(10, (count,), dtype=torch.uint8, generator=generator).numpy()
        write_idx(folder / f"{name}-images-idx3-ubyte", pixels)
        write_idx(folder / f"{name}-labels-idx1-ubyte", labels)
        rows[split] = [ImageRow(str(n), PIL.Image.fromarray(pixels[n]), int(labels[n])) for n in range(count)]
    return rows


@pytest.mark.parametrize("kind", ["mnist", "fashion-mnist"])
def test_mnist_rows_equal_torchvision(kind: str, tmp_path: Path, generator: torch.Generator) -> None:
    rows = write_mnist(tmp_path / FOLDERS[kind], generator)
    fingerprints = set()
    for split in torchvision_splits(kind):
        source = open_torchvision(kind, tmp_path, split, download=False)
        assert source.classes is not None
        assert source.classes[-1] == {"mnist": "9 - nine", "fashion-mnist": "Ankle boot"}[kind]
        assert_holds(source, rows[split])
        assert source.nbytes() == 784 * len(rows[split])
        fingerprints.add(source.fingerprint())
    labels = tmp_path / FOLDERS[kind] / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x0a")
    fingerprints.add(open_torchvision(kind, tmp_path, "train", download=False).fingerprint())
    assert len(fingerprints) == 3


@pytest.mark.parametrize("damage", ["removed", "empty", "cut off", "floats", "too few labels"])
def test_damaged_mnist_raises(damage: str, tmp_path: Path, generator: torch.Generator) -> None:
    folder = tmp_path / "MNIST/raw"
    write_mnist(folder, generator)
    images, labels = folder / "train-images-idx3-ubyte", folder / "train-labels-idx1-ubyte"
    if damage == "removed":
        images.unlink()
    elif damage == "too few labels":
        write_idx(labels, np.zeros(6, np.uint8))
    else:
        content = images.read_bytes()
        changed = {"empty": b"", "cut off": content[:-1], "floats": content[:2] + b"\x0d" + content[3:]}
        images.write_bytes(changed[damage])
    with pytest.raises(SourceError, match=r"mnist in .*MNIST/raw(: 6 labels for 7 images| is incomplete or damaged)"):
        open_torchvision("mnist", tmp_path, "train", download=False)


def test_caltech101_rows(tmp_path: Path, generator: torch.Generator) -> None:
    root = tmp_path / FOLDERS["caltech101"]
    rows = []
    for name in ("BACKGROUND_Google", "Faces", "accordion"):
        (root / name).mkdir(parents=True)
        for number in (1, 2):
            content = encoded(noise_image(generator), "JPEG")
            (root / name / f"image_{number:04d}.jpg").write_bytes(content)
            rows.append(ImageRow(f"{name}/image_{number:04d}", content, {"Faces": 0, "accordion": 1}.get(name, -1)))
    source = open_torchvision("caltech101", tmp_path, "train", download=False)
    assert source.classes == tuple(datasets.Caltech101(tmp_path).categories) == ("Faces", "accordion")
    assert_holds(source, rows[2:])


def test_caltech256_rows(tmp_path: Path, generator: torch.Generator) -> None:
    root = tmp_path / FOLDERS["caltech256"]
    rows = []
    for label, name in enumerate(("001.ak47", "056.dog", "257.clutter")):
        (root / name / "greg").mkdir(parents=True)
        (root / name / "greg/1.jpg").write_bytes(png(generator))
        (root / name / "RENAME2").write_bytes(b"mv")
        rows.append(ImageRow(f"{name}/{label + 1:03d}_0001", png(generator), label))
        (root / f"{rows[-1].key}.jpg").write_bytes(rows[-1].image)  # type: ignore[arg-type]
    source = open_torchvision("caltech256", tmp_path, "train", download=False)
    assert_holds(source, rows)


@pytest.mark.parametrize("kind", FOLDERS)
def test_missing_data_set_raises_with_its_folder(kind: str, tmp_path: Path) -> None:
    with pytest.raises(
        SourceError,
        match=rf"^{tmp_path}/{FOLDERS[kind]} with {kind} does not exist; download it with i2e dataset --download$",
    ):
        open_torchvision(kind, tmp_path, "train", download=False)
    assert list(tmp_path.iterdir()) == []


def test_arrays_are_downloaded(tmp_path: Path, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {}

    def download(self: datasets.MNIST) -> None:
        rows.update(write_mnist(Path(self.raw_folder), generator))

    monkeypatch.setattr(datasets.MNIST, "download", download)
    assert_holds(open_torchvision("mnist", tmp_path, "validation", download=True), rows["validation"])


def test_folder_is_downloaded(tmp_path: Path, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    content = png(generator)

    def download(self: datasets.Caltech256) -> None:
        folder = Path(self.root, "256_ObjectCategories/001.ak47")
        folder.mkdir(parents=True)
        (folder / "001_0001.jpg").write_bytes(content)

    monkeypatch.setattr(datasets.Caltech256, "download", download)
    source = open_torchvision("caltech256", tmp_path, "train", download=True)
    assert_holds(source, [ImageRow("001.ak47/001_0001", content, 0)])
