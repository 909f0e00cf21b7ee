"""Loops of a compiled kernel: their instructions, their loads and stores, and the functions that they come from."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import triton
from triton.compiler import CompiledKernel

_LABEL = re.compile(r"^(\.L\w+):")
_SOURCE = re.compile(r'^\s*//## File "([^"]+)", line (\d+)')
_INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;")
_BRANCH = re.compile(r"\bBRA\b.*`\((\.L\w+)\)")
_GLOBAL_LOAD = re.compile(r"\bLDG(?:STS)?\.E(\S*)")
_GLOBAL_STORE = re.compile(r"\bSTG\.E(\S*)")


@dataclass(frozen=True)
class Instruction:
    """One machine instruction, and the functions it was compiled from, the kernel first."""

    text: str
    functions: tuple[str, ...]


@dataclass
class Loop:
    """A loop: the instructions of its body without those of the loops within it, and these loops."""

    start: int
    end: int
    own: list[Instruction] = field(default_factory=list)
    inner: list[Loop] = field(default_factory=list)

    @property
    def functions(self) -> tuple[str, ...]:
        """Functions that its closing branch was compiled from, the kernel first; Triton 3.6 tells the last alone."""
        return self.own[-1].functions

    @property
    def loads(self) -> list[int]:
        """Bytes of each load from global memory in the body."""
        return [_width(match[1]) for i in self.own if (match := _GLOBAL_LOAD.search(i.text))]

    @property
    def stores(self) -> list[int]:
        """Bytes of each store to global memory in the body."""
        return [_width(match[1]) for i in self.own if (match := _GLOBAL_STORE.search(i.text))]


def loops(kernel: CompiledKernel, folder: Path) -> list[Loop]:
    """The outermost loops of a kernel for an NVIDIA GPU, in the order of its code. Files go to ``folder``."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/nvdisasm"
    binary = folder / f"{kernel.hash}.cubin"
    binary.write_bytes(kernel.asm["cubin"])
    listing = subprocess.run([tool, "-gi", "-c", binary], check=True, capture_output=True, text=True).stdout
    return loops_of(listing)


def loops_of(listing: str) -> list[Loop]:
    """The outermost loops of a listing of nvdisasm with source lines."""
    instructions, labels = _parse(listing)
    ends: dict[int, int] = {}
    for index, instruction in enumerate(instructions):
        branch = _BRANCH.search(instruction.text)
        # A branch to itself is no loop: it is where the code ends.
        if branch and labels.get(branch[1], index) < index:
            ends[labels[branch[1]]] = index
    nest: list[Loop] = []
    outermost: list[Loop] = []
    for index, instruction in enumerate(instructions):
        while nest and nest[-1].end < index:
            nest.pop()
        if index in ends:
            loop = Loop(index, ends[index])
            (nest[-1].inner if nest else outermost).append(loop)
            nest.append(loop)
        if nest:
            nest[-1].own.append(instruction)
    return outermost


def _parse(listing: str) -> tuple[list[Instruction], dict[str, int]]:
    """Instructions of a listing, and which of them each label stands before."""
    instructions: list[Instruction] = []
    labels: dict[str, int] = {}
    places: list[tuple[str, int]] = []
    fresh = True  # whether the next source line begins a new place
    for line in listing.splitlines():
        if label := _LABEL.match(line):
            labels[label[1]] = len(instructions)
        elif source := _SOURCE.match(line):
            places = [] if fresh else places
            places.append((source[1], int(source[2])))
            fresh = False
        elif instruction := _INSTRUCTION.match(line):
            instructions.append(Instruction(instruction[1], tuple(_functions(places))))
            fresh = True
    return instructions, labels


def _functions(places: list[tuple[str, int]]) -> Iterator[str]:
    """Names of the functions that hold places of source code, the innermost of which comes first."""
    for file, line in reversed(places):
        for name, first, last in _definitions(file):
            if first <= line <= last:
                yield name


@cache
def _definitions(file: str) -> list[tuple[str, int, int]]:
    """Functions of a file, with their first and last lines."""
    tree = ast.parse(Path(file).read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return [(node.name, node.lineno, node.end_lineno or node.lineno) for node in functions]


def _width(suffix: str) -> int:
    """Bytes that an instruction with such a suffix moves for each thread."""
    parts = suffix.split(".")
    for name, width in (("128", 16), ("64", 8), ("U8", 1), ("S8", 1), ("U16", 2), ("S16", 2)):
        if name in parts:
            return width
    return 4
