"""``ImageToEvents`` converts the images of a sample and leaves everything else unchanged."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from i2e_triton import ORDERS
from i2e_triton.transforms import ImageToEvents
from tests.cases import pack
from tests.samples import (
    PHOTOGRAPHS,
    assert_same_events,
    canonical_events,
    events_of_each_candidate,
    noise,
    photograph_path,
    resized_photograph,
)


@pytest.fixture
def image(generator: torch.Generator) -> Tensor:
    return noise((3, 12, 10), torch.uint8, generator)


def test_tensor_tv_tensor_pil_image_and_batch(image: Tensor) -> None:
    expected = canonical_events(image[None])[:, 0]
    transform = ImageToEvents()
    pil_image = PIL.Image.fromarray(image.permute(1, 2, 0).numpy())
    for sample in (image, tv_tensors.Image(image), pil_image):
        events = transform(sample)
        assert type(events) is Tensor
        assert_same_events(events, expected)
    batch = torch.stack([image, image.flip(-1)])
    for sample in (batch, tv_tensors.Image(batch)):
        assert_same_events(transform(sample), canonical_events(batch))


def test_arguments_of_convert(image: Tensor) -> None:
    for order in ORDERS:
        expected = canonical_events(image[None], 0.2, order)[:5, 0]
        assert_same_events(ImageToEvents(0.2, order=order, timesteps=5)(image), expected)
    rounded = ImageToEvents(np.float32(0.25), timesteps=np.int64(5))  # type: ignore[arg-type]
    assert_same_events(rounded(image), canonical_events(image[None], 0.25)[:5, 0])
    assert_same_events(ImageToEvents(dtype=torch.bool)(image), canonical_events(image[None])[:, 0].bool())
    assert_same_events(ImageToEvents(packed=True)(image), pack(canonical_events(image[None])[:, 0].bool()))


@pytest.mark.parametrize("random", [False, True])
def test_rest_of_a_sample_is_unchanged(random: bool, image: Tensor, generator: torch.Generator) -> None:
    sample = {
        "image": tv_tensors.Image(image),
        "boxes": tv_tensors.BoundingBoxes([[1, 2, 5, 6]], format="XYXY", canvas_size=(12, 10)),
        "mask": tv_tensors.Mask(torch.randint(0, 2, (12, 10), generator=generator)),
        "video": tv_tensors.Video(noise((4, 3, 12, 10), torch.uint8, generator)),
        "label": 7,
        "embedding": torch.rand(3, 12, 10, generator=generator),
        "name": "a name",
        "nothing": None,
        "nested": [{"score": 0.5}, (1, 2)],
    }
    before = copy.deepcopy(sample)
    result = v2.Compose([ImageToEvents(random=random)])(sample)
    assert result["image"].shape == (8, 2, 12, 10)
    if not random:
        assert_same_events(result["image"], canonical_events(image[None])[:, 0])
    assert list(result) == list(before)
    for key in ("boxes", "mask", "video", "embedding"):
        assert type(result[key]) is type(before[key])
        assert torch.equal(result[key], before[key])
    assert result["boxes"].format == before["boxes"].format
    assert result["boxes"].canvas_size == before["boxes"].canvas_size
    for key in ("label", "name", "nothing", "nested"):
        assert result[key] == before[key]
    assert torch.equal(sample["image"], before["image"])  # the argument is unchanged too


def test_first_plain_tensor_is_the_image(image: Tensor) -> None:
    events, label, weights = ImageToEvents()(image, 3, torch.ones(5))
    assert_same_events(events, canonical_events(image[None])[:, 0])
    assert label == 3
    assert torch.equal(weights, torch.ones(5))


def test_numpy_image_is_converted(image: Tensor) -> None:
    expected = canonical_events(image[None])[:, 0]
    for array in (image.numpy(), image.permute(1, 2, 0).numpy()):
        assert_same_events(ImageToEvents()(array), expected)
        labels = np.arange(3)
        sample = ImageToEvents()({"image": array, "labels": labels, "weights": torch.ones(5)})
        assert_same_events(sample["image"], expected)
        assert sample["labels"] is labels
        assert torch.equal(sample["weights"], torch.ones(5))
    assert_same_events(ImageToEvents()(image[None].numpy()), expected[:, None])


@pytest.mark.parametrize("kind", ["tensor", "tv_tensor", "PIL image", "video"])
def test_numpy_array_next_to_another_image_is_unchanged(kind: str, image: Tensor) -> None:
    other = {
        "tensor": image,
        "tv_tensor": tv_tensors.Image(image),
        "PIL image": PIL.Image.fromarray(image.permute(1, 2, 0).numpy()),
        "video": tv_tensors.Video(image[None]),
    }[kind]
    array = image.numpy()
    first, second = ImageToEvents()(other, array)
    assert first.shape == ((8, 2, 12, 10) if kind != "video" else (1, 3, 12, 10))
    assert second is array


def test_images_of_a_sample_share_one_draw(image: Tensor) -> None:
    transform = ImageToEvents(random=True)
    for _ in range(5):
        first, second = transform(tv_tensors.Image(image), tv_tensors.Image(image))
        assert torch.equal(first, second)


def test_conversion_after_other_transforms() -> None:
    with PIL.Image.open(photograph_path("coffee")) as pil_image:
        transforms = [
            v2.ToImage(),
            v2.Resize(96),
            v2.CenterCrop(80),
            v2.RandomHorizontalFlip(1),
            v2.ToDtype(torch.float32, True),
        ]
        image = v2.Compose(transforms)(pil_image)
        events = v2.Compose([*transforms, ImageToEvents(0.07)])(pil_image)
    assert image.shape == (3, 80, 80)
    assert_same_events(events, canonical_events(image[None].as_subclass(Tensor), 0.07)[:, 0])


def test_random_draws_one_vector_of_each_group(image: Tensor) -> None:
    candidates = events_of_each_candidate(image[None])
    transform = ImageToEvents(random=True)
    drawn = [transform(image) for _ in range(40)]
    assert len({events.numpy().tobytes() for events in drawn}) > 30
    for events in drawn:
        assert all(
            any(torch.equal(step, candidate[0]) for candidate in group) for step, group in zip(events, candidates)
        )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first = transform(image)
        torch.manual_seed(3)
        assert torch.equal(transform(image), first)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda transform: pickle.loads(pickle.dumps(transform))])
def test_copy_converts_like_the_original(copied: Any, image: Tensor) -> None:
    duplicate = copied(ImageToEvents(0.2, order=3, timesteps=6, dtype=torch.uint8))
    assert_same_events(duplicate(image), canonical_events(image[None], 0.2, 3)[:6, 0].byte())
    assert repr(duplicate) == repr(ImageToEvents(0.2, order=3, timesteps=6, dtype=torch.uint8))


def test_repr_shows_the_arguments() -> None:
    shown = repr(ImageToEvents(0.2, order="beta-alpha-gamma", timesteps=6, random=True))
    for setting in ("ratio=0.2", "order=beta-alpha-gamma", "timesteps=6", "random=True"):
        assert setting in shown


class Photographs(Dataset[tuple[Tensor, int, int]]):
    """Photographs as events, with the index of the photograph and of the DataLoader worker (-1: no worker)."""

    def __init__(self, transform: v2.Transform):
        self.transform = transform

    def __len__(self) -> int:
        return len(PHOTOGRAPHS)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        worker = torch.utils.data.get_worker_info()
        image = tv_tensors.Image(resized_photograph(PHOTOGRAPHS[index], 48))
        return *self.transform(image, index), -1 if worker is None else worker.id


@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.slow
def test_conversion_in_data_loader_workers(context: str) -> None:
    ImageToEvents()(resized_photograph("coffee", 48))  # the parent process converts before it forks
    dataset = Photographs(v2.Compose([ImageToEvents(0.1, dtype=torch.uint8)]))
    loader = DataLoader(dataset, batch_size=2, num_workers=2, multiprocessing_context=context)
    events, labels, workers = (torch.cat(part) for part in zip(*loader))
    assert set(workers.tolist()) == {0, 1}
    assert labels.tolist() == [0, 1, 2, 3]
    images = torch.stack([resized_photograph(name, 48) for name in PHOTOGRAPHS])
    assert_same_events(events, canonical_events(images, 0.1).byte().transpose(0, 1))


def test_workers_draw_different_vectors() -> None:
    dataset = torch.utils.data.Subset(Photographs(ImageToEvents(random=True, dtype=torch.uint8)), [0] * 8)
    loader = DataLoader(dataset, batch_size=1, num_workers=2)
    drawn = [events.numpy().tobytes() for epoch in range(2) for events, _, _ in loader]
    assert len(set(drawn)) > 12  # of 16: workers and epochs differ


def test_image_of_the_wrong_dtype_raises_error() -> None:
    with pytest.raises(TypeError, match=r"got torch\.int64"):
        ImageToEvents()(torch.zeros(3, 4, 4, dtype=torch.int64))
