"""Launch plans: what a launch needs besides the addresses of its tensors.

Triton's usual launch derives the type and the alignment of each argument on every call, which takes longer than a small
kernel. A plan is made once for each combination of shapes, strides, dtypes and alignments. It holds compiled kernels
and the arguments that do not change; a call fills in the addresses. A plan keeps no tensor alive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from triton.runtime import JITFunction

# Alignment in bytes that Triton knows for pointers. It also knows whether an integer is a multiple of 16.
ALIGNMENT = 16
# Parts of a workspace start at multiples of this many bytes, as PyTorch's allocations do.
_PART_BYTES = 512


class Layout(NamedTuple):
    """What a plan depends on, of one tensor."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in elements
    dtype: torch.dtype
    misalignment: int  # bytes from a multiple of 16 to the first element

    @classmethod
    def of(cls, tensor: Tensor) -> Layout:
        """Return the layout of a tensor."""
        return cls(tensor.shape, tensor.stride(), tensor.dtype, tensor.data_ptr() % ALIGNMENT)

    def extent(self, *dims: int) -> int:
        """Return the number of elements in memory from the first to the last element along the dimensions."""
        return 1 + sum((self.shape[dim] - 1) * self.strides[dim] for dim in dims)


@dataclass(frozen=True)
class Pointer:
    """Stands for the address of a tensor, or of a part of the workspace. Triton compiles kernels for it as for both."""

    name: str
    dtype: torch.dtype
    misalignment: int = 0
    bytes: int = 0

    @classmethod
    def to(cls, name: str, layout: Layout) -> Pointer:
        """Return the pointer to a tensor. Bool is passed as uint8, so that both dtypes use the same kernel."""
        dtype = torch.uint8 if layout.dtype == torch.bool else layout.dtype
        return cls(name, dtype, layout.misalignment, layout.extent(*range(len(layout.shape))) * dtype.itemsize)

    def data_ptr(self) -> int:
        """Return an address with the right alignment."""
        return self.misalignment

    def ptr_range(self) -> int:
        """Return the number of bytes that can be read, which Triton uses on AMD GPUs."""
        return self.bytes


@dataclass(frozen=True)
class Number:
    """Stands for a float that each call passes."""

    name: str


_GAPS = (Pointer, Number)


@dataclass(frozen=True)
class Launch:
    """One launch: the kernel, the grid of programs, and its arguments and compiler options by name.

    Tensors are replaced by :class:`Pointer`, and floats by :class:`Number`.
    """

    kernel: Any
    grid: tuple[int, int, int]
    arguments: dict[str, Any]

    def specialized(self) -> dict[str, Any]:
        """Return the arguments for which the kernel is compiled: integers that many launches have in common."""
        constants = {parameter.name for parameter in self.kernel.params if parameter.is_constexpr}
        fields = {name: value for name, value in self.arguments.items() if name in self.kernel.arg_names}
        plain = {name: value for name, value in fields.items() if name not in constants}
        groups: dict[str, Any] = {name: value for name, value in plain.items() if isinstance(value, tuple)}
        result = {**self.arguments, **_representatives(plain)}
        for name, group in groups.items():
            result[name] = type(group)(**_representatives(group._asdict()))
        return result

    def compile(self) -> Any:
        """Compile the kernel for the current device, or take it from Triton's cache."""
        return self.kernel.warmup(grid=self.grid, **self.specialized())

    @property
    def compilable(self) -> bool:
        """Whether the kernel can be compiled in advance. Triton's interpreter does not compile."""
        return isinstance(self.kernel, JITFunction)

    def run(self, _stream: int | None, arguments: list[Any]) -> None:
        """Launch the kernel as usual: Triton looks at the arguments, and compiles the kernel if necessary."""
        names = self.kernel.arg_names
        options = {name: value for name, value in self.arguments.items() if name not in names}
        self.kernel[self.grid](*arguments, **options)


class Workspace:
    """Temporary memory of a plan, which each call allocates once, for all of its launches."""

    def __init__(self) -> None:
        self.bytes = 0
        self.parts: dict[str, tuple[int, torch.dtype]] = {}

    def add(self, name: str, elements: int, dtype: torch.dtype, first: int = 0) -> Pointer:
        """Add a part of ``elements``; return the pointer to its element ``first``."""
        self.parts[name] = self.bytes + first * dtype.itemsize, dtype
        size = elements * dtype.itemsize
        self.bytes += -(-size // _PART_BYTES) * _PART_BYTES
        return Pointer(name, dtype, first * dtype.itemsize % ALIGNMENT, size)


class Plan:
    """Compiled launches, which a call runs one after the other."""

    def __init__(self, launches: list[Launch], workspace: Workspace, hooked: bool):
        self._launches = [_Template(launch, hooked) for launch in launches]
        self._workspace = workspace
        #: Whether kernels take addresses. The usual launch takes tensors, because it looks at their types.
        self.compiled = all(launch.compilable for launch in launches)

    def run(self, device: torch.device, stream: int | None, values: dict[str | None, Any]) -> None:
        """Launch the kernels on the current device, which must be ``device``.

        Args:
            device: device of the tensors.
            stream: the current stream of the device.
            values: addresses or tensors, and numbers, by the names of their :class:`Pointer` and :class:`Number`. Those
                in the workspace are added.
        """
        if self._workspace.bytes:
            memory = torch.empty(self._workspace.bytes, dtype=torch.uint8, device=device)
            address = memory.data_ptr()
            for name, (offset, dtype) in self._workspace.parts.items():
                values[name] = address + offset if self.compiled else memory[offset:].view(dtype)
        for launch in self._launches:
            launch.run(stream, launch.fill(values))


class _Template:
    """The arguments of one launch in the order of the kernel's parameters, with gaps for pointers and numbers."""

    def __init__(self, launch: Launch, hooked: bool):
        arguments = [launch.arguments[name] for name in launch.kernel.arg_names]
        self.run = _launcher(launch, hooked) if launch.compilable else launch.run
        self._arguments = arguments
        self._gaps = [(i, argument.name) for i, argument in enumerate(arguments) if isinstance(argument, _GAPS)]
        self._groups = []
        for i, group in enumerate(arguments):
            if isinstance(group, tuple) and any(isinstance(field, _GAPS) for field in group):
                # The fields after the last gap are constants. A field before it that is not a gap is None.
                constants = max(j + 1 for j, field in enumerate(group) if isinstance(field, _GAPS))
                names = [field and field.name for field in group[:constants]]
                make: Any = tuple if launch.compilable else getattr(type(group), "_make")  # noqa: B009
                self._groups.append((i, make, names, group[constants:]))

    def fill(self, values: Mapping[str | None, Any]) -> list[Any]:
        """Return the arguments with these tensors, addresses and numbers."""
        arguments = self._arguments.copy()
        for i, name in self._gaps:
            arguments[i] = values[name]
        for i, make, names, constants in self._groups:
            arguments[i] = make((*map(values.__getitem__, names), *constants))
        return arguments


def _launcher(launch: Launch, hooked: bool) -> Callable[[int | None, list[Any]], None]:
    """Return a function that launches the compiled kernel in a stream, with Triton's launch hooks if ``hooked``."""
    kernel, grid = launch.compile(), launch.grid
    usual = kernel[grid]  # also loads the kernel
    if hooked:
        return lambda stream, arguments: usual(*arguments, stream=stream)
    function, metadata = kernel.function, kernel.packed_metadata
    # As Triton does, but without calling its chains of hooks: 3 us less.
    return lambda stream, arguments: kernel.run(*grid, stream, function, metadata, None, None, None, *arguments)


def _representatives(fields: dict[str, Any]) -> dict[str, Any]:
    """Replace integers by those for which a kernel is compiled, so that it can be launched with many others.

    Triton compiles a kernel again if an integer becomes 1 or a multiple of 16. Wide loads and stores only need to know
    whether all strides, and then the width, are multiples of 16, and whether the stride along x is 1.
    """
    strides = [value for name, value in fields.items() if name.startswith("stride_") and name != "stride_x"]
    aligned = all(stride % ALIGNMENT == 0 for stride in strides)
    result = {}
    for name, value in fields.items():
        if type(value) is int and not (name == "stride_x" and value == 1):
            keep = aligned and value % ALIGNMENT == 0 and (name == "width" or name.startswith("stride_"))
            large = 2**32 if not -(2**31) <= value < 2**31 else 0  # a 64-bit argument
            value = large + (ALIGNMENT if keep else ALIGNMENT + 1)
        result[name] = 0.0 if isinstance(value, Number) else value
    return result
