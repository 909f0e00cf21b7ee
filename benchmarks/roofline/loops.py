"""Find the loops of a kernel compiled for an NVIDIA GPU: their instructions, loads, stores and source functions."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from triton.compiler import CompiledKernel

from benchmarks.roofline.ahead_of_time import run_nvidia_tool
from i2e_triton import kernels

_LABEL = re.compile(r"^(\.L\w+):")
_SOURCE = re.compile(r'^\s*//## File "([^"]+)", line (\d+)')
_INSTRUCTION = re.compile(r"^\s+/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;")
_BRANCH = re.compile(r"\bBRA\b.*`\((\.L\w+)\)")
_LOAD = re.compile(r"\bLDG(?:STS)?\.E(\S*)")
_STORE = re.compile(r"\bSTG\.E(\S*)")
_WIDTHS = {"128": 16, "64": 8, "U8": 1, "S8": 1, "U16": 2, "S16": 2}


@dataclass
class Loop:
    """A loop in machine code.

    Attributes:
        function: name of the Python function that the closing branch was compiled from, or None if it is unknown.
        instructions: instructions of the body, without those of inner loops.
        inner: inner loops.
    """

    function: str | None
    instructions: list[str] = field(default_factory=list)
    inner: list[Loop] = field(default_factory=list)

    @property
    def loads(self) -> list[int]:
        """Return the bytes per thread of each load from global memory, without inner loops."""
        return self._widths(_LOAD)

    @property
    def stores(self) -> list[int]:
        """Return the bytes per thread of each store to global memory, without inner loops."""
        return self._widths(_STORE)

    def _widths(self, access: re.Pattern[str]) -> list[int]:
        suffixes = [match[1].split(".") for text in self.instructions if (match := access.search(text))]
        return [next((_WIDTHS[part] for part in suffix if part in _WIDTHS), 4) for suffix in suffixes]


def loops(kernel: CompiledKernel) -> list[Loop]:
    """Disassemble a kernel and return its outermost loops in code order."""
    return parse_loops(run_nvidia_tool(kernel, "nvdisasm", "-gi", "-c"))


def parse_loops(listing: str) -> list[Loop]:
    """Return the outermost loops in a listing of nvdisasm with source lines (``-gi``), in code order."""
    instructions, labels = _parse(listing)
    last_of_loop: dict[int, int] = {}  # index of a loop's first instruction -> index of its last instruction
    for index, (text, _) in enumerate(instructions):
        branch = _BRANCH.search(text)
        # The code ends with a branch to itself, which is not a loop.
        if branch and labels.get(branch[1], index) < index:
            last_of_loop[labels[branch[1]]] = index
    outermost: list[Loop] = []
    open_loops: list[tuple[int, Loop]] = []
    for index, (text, _) in enumerate(instructions):
        while open_loops and open_loops[-1][0] < index:
            open_loops.pop()
        if index in last_of_loop:
            loop = Loop(instructions[last_of_loop[index]][1])
            (open_loops[-1][1].inner if open_loops else outermost).append(loop)
            open_loops.append((last_of_loop[index], loop))
        if open_loops:
            open_loops[-1][1].instructions.append(text)
    return outermost


def _parse(listing: str) -> tuple[list[tuple[str, str | None]], dict[str, int]]:
    """Return pairs (instruction, source function), and for each label the index of the instruction that follows it."""
    instructions: list[tuple[str, str | None]] = []
    labels: dict[str, int] = {}
    # Before inlined code, nvdisasm prints several source lines. The first one names the innermost function; the others
    # are ignored.
    function, source_found = None, False
    for line in listing.splitlines():
        if label := _LABEL.match(line):
            labels[label[1]] = len(instructions)
        elif source := _SOURCE.match(line):
            function = function if source_found else _function_at(source[1], int(source[2]))
            source_found = True
        elif instruction := _INSTRUCTION.match(line):
            instructions.append((instruction[1], function))
            source_found = False
    return instructions, labels


def _function_at(file: str, line: int) -> str | None:
    names = (node.name for node in _functions(file) if node.lineno <= line <= (node.end_lineno or node.lineno))
    return next(names, None)


@cache
def _functions(file: str) -> list[ast.FunctionDef]:
    # Triton caches compiled kernels by source text and line number, not by path: the path can be of another checkout.
    path = Path(kernels.__file__).with_name(Path(file).name)
    path = path if path.exists() else Path(file)
    tree = ast.parse(path.read_text() if path.exists() else "")
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
