"""Command-line options and fixtures of all suites: CPU threads, image files, and the measurement of a case."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.harness.machine import environment
from benchmarks.harness.rows import RESULTS, Row, write_rows
from benchmarks.harness.timing import cpu_seconds, measured_fields, peak_memory, rounds_and_iterations, warm_up
from benchmarks.harness.workload import PHOTOGRAPHS, photograph_path

_ROWS: pytest.StashKey[list[Row]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the command-line options."""
    parser.addoption("--results", type=Path, default=RESULTS, help="folder that receives the results")
    parser.addoption("--cifar10", type=Path, help="folder with the Parquet files of CIFAR-10 from the Hugging Face hub")


def pytest_configure(config: pytest.Config) -> None:
    """Create the empty list of rows."""
    config.stash[_ROWS] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the rows of all measured cases."""
    rows = session.config.stash[_ROWS]
    write_rows(rows, session.config.getoption("results"))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the number of rows and the folder that they were written to."""
    if rows := config.stash[_ROWS]:
        terminalreporter.write_line(f"benchmark rows written to {config.getoption('results')}: {len(rows)}")


@pytest.fixture(autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Set PyTorch's number of CPU threads to the indirect parameter ``threads``, by default to 1."""
    previous = torch.get_num_threads()
    torch.set_num_threads(getattr(request, "param", 1))
    yield torch.get_num_threads()
    torch.set_num_threads(previous)


@pytest.fixture(scope="session")
def image_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with scikit-image's photographs as JPEG and PNG files."""
    folder = tmp_path_factory.mktemp("photographs")
    for name in PHOTOGRAPHS:
        with PIL.Image.open(photograph_path(name)) as image:
            rgb = image.convert("RGB")
        rgb.save(folder / f"{Path(name).stem}.jpeg", quality=90)
        rgb.save(folder / f"{Path(name).stem}.png")
    return folder


@pytest.fixture
def measure(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Callable[..., None]:
    """Return the function that measures a case and records its row."""

    def run(
        suite: str,
        case: dict[str, Any],
        call: Callable[[], object],
        *,
        device: str,
        images: int,
        per_call: int = 1,
        memory_call: Callable[[], object] | None = None,
        once: bool = False,
        **more: Any,
    ) -> None:
        """Measure a call and record its row.

        Args:
            suite: name of the suite.
            case: values that identify the case within the suite.
            call: function to measure. It repeats the work ``per_call`` times.
            device: device that does the work.
            images: number of images that the work converts.
            per_call: how often one call of ``call`` does the work. Times are divided by it.
            memory_call: does the work once, to measure its peak memory. By default, memory is not measured.
            once: measure a single call without warm-up, for work that takes long.
            more: other fields of the row.
        """
        kind = torch.device(device).type
        rounds, iterations = (1, 1) if once else rounds_and_iterations(warm_up(call, kind), kind)
        start = cpu_seconds()
        benchmark.pedantic(call, rounds=rounds, iterations=iterations)
        cpu_s = (cpu_seconds() - start) / (rounds * iterations * per_call)
        if benchmark.stats is None:  # with --benchmark-disable
            return
        fields = {"cpu_s": cpu_s, "peak_memory": memory_call and peak_memory(memory_call, kind), **more}
        measured = measured_fields(benchmark.stats.stats.data, images=images, per_call=per_call, **fields)
        request.config.stash[_ROWS].append({"suite": suite, "case": case, **measured, **environment(device)})

    return run
