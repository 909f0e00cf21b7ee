"""The operator under ``torch.compile`` and ``torch.export``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import i2e_triton
from i2e_triton import I2E, canonical_shifts, convert, event_rate, random_shifts, reference, unpack
from tests.cases import pack
from tests.samples import assert_same_events, events_of_each_candidate, noise


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def expected_events(images: Tensor, ratio: float | Tensor = 0.12, shifts: Tensor | None = None) -> Tensor:
    return reference.convert(images, ratio, canonical_shifts() if shifts is None else shifts)


def ratio_per_image(images: Tensor) -> Tensor:
    return convert(images, torch.linspace(0.05, 0.3, images.shape[0]), dtype=torch.bool)


def shifts_per_image(images: Tensor) -> Tensor:
    shifts = canonical_shifts().expand(images.shape[0], -1, -1).roll(1, dims=1)
    return convert(images, shifts=shifts, dtype=torch.uint8)


PROGRAMS: dict[str, Callable[[Tensor], Tensor]] = {
    "default": convert,
    "one image": lambda images: convert(images[0], 0.2, timesteps=5),
    "ratio per image": ratio_per_image,
    "shifts per image": shifts_per_image,
    "packed and unpacked": lambda images: unpack(convert(images, packed=True), 8, torch.bfloat16),
    "packed after the conversion": lambda images: i2e_triton.pack(convert(images, timesteps=3)),
    "event rate": lambda images: event_rate(convert(images), (1, 3, 4)),
}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_as_one_graph(program: str, dynamic: bool, generator: torch.Generator) -> None:
    function = PROGRAMS[program]
    compiled = torch.compile(function, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for shape in ((2, 3, 8, 9), (5, 3, 12, 7), (3, 2, 8, 8)):
        for dtype in (torch.uint8, torch.float32):
            images = noise(shape, dtype, generator)
            assert_same_events(compiled(images), function(images))


@pytest.mark.parametrize("ci", ["", "true"])
def test_compiles_with_the_default_backend(
    ci: str, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    importlib.import_module("torch._inductor.lowering").lowerings.pop(torch.ops.i2e_triton.convert.default, None)
    compiled = torch.compile(lambda images: convert(images, 0.1), fullgraph=True)
    with torch._inductor.config.patch(force_disable_caches=True):
        for _ in range(2):
            images = noise((2, 3, 8, 9), torch.uint8, generator)
            assert_same_events(compiled(images), expected_events(images, 0.1).float())


@pytest.mark.parametrize("dynamic", [False, True])
def test_convert_into_out_compiles(dynamic: bool, generator: torch.Generator) -> None:
    def write(images: Tensor, out: Tensor) -> Tensor:
        return convert(images, out=out.mul_(3)) + 1

    compiled = torch.compile(write, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for shape in ((2, 3, 8, 9), (3, 3, 5, 4)):
        images = noise(shape, torch.uint8, generator)
        expected = expected_events(images).float()
        out = torch.full(expected.shape, torch.nan)  # Dynamo requires a contiguous out
        assert_same_events(compiled(images, out), expected + 1)
        assert_same_events(out, expected)


def test_dynamic_graph_is_compiled_once(generator: torch.Generator) -> None:
    graphs = []

    def count(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(graph)
        return graph

    compiled = torch.compile(convert, fullgraph=True, dynamic=True, backend=count)
    for shape in ((2, 3, 8, 9), (5, 3, 12, 7), (7, 3, 20, 30)):
        images = noise(shape, torch.uint8, generator)
        assert_same_events(compiled(images), expected_events(images).float())
    assert len(graphs) == 1
    targets = [node.target for node in graphs[0].graph.nodes if node.op == "call_function"]
    assert [t for t in targets if t in (torch.ops.i2e_triton.convert, torch.ops.i2e_triton.convert.default)]
    assert not [t for t in targets if "conv2d" in str(t)]


class Network(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.events = I2E(**options)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, images: Tensor) -> Tensor:
        return self.events(images) * self.scale


def test_compiles_with_different_ratios(generator: torch.Generator) -> None:
    compiled = torch.compile(convert, fullgraph=True, backend="aot_eager")
    images = noise((2, 3, 8, 9), torch.uint8, generator)
    for ratio in (0.12, 0.2, 0.05, 1, 0):
        assert_same_events(compiled(images, ratio), expected_events(images, ratio).float())


@pytest.mark.parametrize("dynamic", [None, True])
def test_network_with_the_module_compiles(dynamic: bool | None, generator: torch.Generator) -> None:
    network = Network().eval()
    compiled = torch.compile(network, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    images = noise((2, 3, 8, 9), torch.uint8, generator)
    events = compiled(images)
    assert_same_events(events.detach(), expected_events(images).float() * 2)
    events.sum().backward()
    assert network.scale.grad is not None
    assert float(network.scale.grad) == float(expected_events(images).sum())


@pytest.mark.parametrize("per_sample", [False, True])
def test_compiled_network_draws_new_vectors_in_each_call(per_sample: bool, generator: torch.Generator) -> None:
    network = Network(per_sample=per_sample).train()
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    images = noise((1, 3, 8, 9), torch.uint8, generator)
    candidates = events_of_each_candidate(images)
    drawn = [compiled(images).detach() for _ in range(20)]
    for events in drawn:
        assert all(
            any(torch.equal(step, 2 * candidate) for candidate in group) for step, group in zip(events, candidates)
        )
    assert len({events.numpy().tobytes() for events in drawn}) > 10


def test_exports_with_a_dynamic_batch_and_size(generator: torch.Generator) -> None:
    batch, height, width = (torch.export.Dim(name, min=1, max=4096) for name in ("batch", "height", "width"))
    images = noise((2, 3, 8, 9), torch.uint8, generator)
    program = torch.export.export(
        Network().eval(), (images,), dynamic_shapes={"images": {0: batch, 2: height, 3: width}}, strict=False
    )
    for shape in ((2, 3, 8, 9), (5, 3, 20, 6), (1, 3, 1, 1)):
        other = noise(shape, torch.uint8, generator)
        assert_same_events(program.module()(other).detach(), expected_events(other).float() * 2)
    calls = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert "i2e_triton.convert.default" in calls


def test_exported_program_can_be_saved_and_loaded(generator: torch.Generator, tmp_path: Any) -> None:
    images = noise((2, 3, 8, 9), torch.float32, generator)
    program = torch.export.export(I2E(0.2, packed=True).eval(), (images,), strict=True)
    torch.export.save(program, tmp_path / "events.pt2")
    loaded = torch.export.load(tmp_path / "events.pt2").module()
    assert_same_events(loaded(images), pack(expected_events(images, 0.2)))


def test_other_shifts_do_not_recompile(generator: torch.Generator) -> None:
    compiled = torch.compile(
        lambda images, shifts: convert(images, shifts=shifts, dtype=torch.bool), fullgraph=True, backend="aot_eager"
    )
    images = noise((3, 3, 8, 9), torch.uint8, generator)
    first = random_shifts(3, generator)
    assert_same_events(compiled(images, first), expected_events(images, 0.12, first))
    with torch.compiler.set_stance("fail_on_recompile"):
        for _ in range(3):
            shifts = random_shifts(3, generator)
            assert_same_events(compiled(images, shifts), expected_events(images, 0.12, shifts))
