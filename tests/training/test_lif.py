"""The neurons are SpikingJelly's, and run fused where it can: what is asked of it, and what comes out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from i2e_triton.training.models import LIF, lif

pytestmark = pytest.mark.skipif(
    not hasattr(functional, "neuron_implementation"), reason="SpikingJelly before 2.0 chooses no operator itself"
)
HALVES = (torch.bfloat16, torch.float16)
TIMESTEPS = 8


class Operators(TorchDispatchMode):
    """Notes what is called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


def neurons() -> LIF:
    node = lif()
    node.step_mode = "m"
    return node


def drawn(dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Membrane input of which a part fires, channels last as in a network."""
    x = torch.randn(TIMESTEPS * 3, 5, 7, 6, generator=generator) + 0.4
    return x.to(dtype).to(memory_format=torch.channels_last).unflatten(0, (TIMESTEPS, 3))


def plain(x: Tensor) -> Tensor:
    """The neuron of the paper, one equation after the other, in float32."""
    membrane, spikes = torch.zeros_like(x[0], dtype=torch.float32), []
    for current in x.float():
        membrane = membrane / 2 + current
        fired = membrane >= 1
        membrane = membrane * ~fired
        spikes.append(fired)
    return torch.stack(spikes).to(x.dtype)


def on_a_gpu(dtype: torch.dtype) -> set[str]:
    """Operators of a pass on a GPU that needs not be there."""
    with FakeTensorMode(), Operators() as operators:
        spikes = neurons()(torch.empty(TIMESTEPS, 3, 5, 7, 6, dtype=dtype, device="cuda:0", requires_grad=True))
    assert spikes.dtype == dtype
    return operators.names


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES], ids=str)
def test_a_gpu_gets_all_timesteps_in_one_operator(dtype: torch.dtype) -> None:
    names = on_a_gpu(dtype)
    assert "sj_lif.forward.default" in names
    assert not {name for name in names if name.split(".")[1] in ("div", "mul", "ge", "stack", "unbind")}


def test_float64_and_amd_gpus_get_plain_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "a GPU")  # SpikingJelly logs its choice
    assert "aten.stack.default" in on_a_gpu(torch.float64)
    monkeypatch.setattr(torch.version, "hip", "6.0")
    with FakeTensorMode():
        x = torch.empty(TIMESTEPS, 3, 5, dtype=torch.float16, device="cuda:0")
        assert neurons().materialize_states((x,), (0.0,), "m")[0].dtype == torch.float16  # type: ignore[attr-defined]


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES], ids=str)
def test_spikes_are_those_of_the_equations(dtype: torch.dtype, generator: torch.Generator) -> None:
    x, node = drawn(dtype, generator), neurons()
    expected = plain(x)
    assert 0.2 < float(expected.float().mean()) < 0.8
    assert torch.equal(node(x), expected)
    assert node.v.dtype == torch.float32
    functional.reset_net(node)
    assert torch.equal(node(x), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, *HALVES], ids=str)
def test_fused_neurons_are_the_plain_ones(dtype: torch.dtype, generator: torch.Generator) -> None:
    assert functional.neuron_implementation("lif", torch.device("cuda", 0))["implementation"] in ("cuda", "triton")
    x, fused, there = drawn(dtype, generator), neurons(), neurons()
    weight = torch.randn(x.shape, generator=generator).to(dtype)
    gradients = []
    for node, device in ((fused, "cuda"), (there, "cpu")):
        inputs = x.to(device).requires_grad_()
        spikes = node(inputs)
        assert torch.equal(spikes.cpu(), plain(x))
        spikes.backward(weight.to(device))
        assert inputs.grad is not None
        gradients.append(inputs.grad.cpu().float())
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-2 if dtype in HALVES else 1e-5, atol=1e-6)
