"""What the suites share: pinned threads, the measurement of a case, and its row under benchmarks/results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.harness.machine import environment
from benchmarks.harness.measurement import figures, peak_memory, rounds_and_iterations, warm_up
from benchmarks.harness.workload import PHOTOGRAPHS, photograph_path
from benchmarks.report.rows import RESULTS, Row, make_row, write_rows

_ROWS: pytest.StashKey[list[Row]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let rows be written elsewhere, and a data set be given that is not shipped with a package."""
    parser.addoption("--results", type=Path, default=RESULTS, help="folder that receives the rows of results")
    parser.addoption("--cifar10", type=Path, help="folder with CIFAR-10 as Parquet files of the Hugging Face hub")


def pytest_configure(config: pytest.Config) -> None:
    """Start without results."""
    config.stash[_ROWS] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the rows of the cases that were measured."""
    rows = session.config.stash[_ROWS]
    write_rows(rows, session.config.getoption("results"))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say where the results are."""
    if rows := config.stash[_ROWS]:
        terminalreporter.write_line(f"{len(rows)} rows of results in {config.getoption('results')}")


@pytest.fixture(autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Run PyTorch's CPU work on one thread, or on as many as an indirect parameter says."""
    before = torch.get_num_threads()
    torch.set_num_threads(getattr(request, "param", 1))
    yield torch.get_num_threads()
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def picture_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photographs of scikit-image as JPEG and as PNG files."""
    folder = tmp_path_factory.mktemp("photographs")
    for name in PHOTOGRAPHS:
        with PIL.Image.open(photograph_path(name)) as picture:
            rgb = picture.convert("RGB")
        rgb.save(folder / f"{Path(name).stem}.jpeg", quality=90)
        rgb.save(folder / f"{Path(name).stem}.png")
    return folder


@pytest.fixture
def measure(benchmark: BenchmarkFixture, request: pytest.FixtureRequest, threads: int) -> Callable[..., None]:
    """Measure a case and keep its row."""

    def run(
        suite: str,
        case: dict[str, Any],
        call: Callable[[], object],
        *,
        device: str,
        images: int,
        per_call: int = 1,
        bytes_moved: int | None = None,
        alone: Callable[[], object] | None = None,
        once: bool = False,
        **more: Any,
    ) -> None:
        """Time a call by the benchmark's clock.

        Args:
            suite: which suite the case belongs to.
            case: what was measured, by names that the report looks it up by.
            call: does the work ``per_call`` times, on inputs in turn.
            device: that the row is of.
            images: converted by one of these.
            per_call: how often a call does the work.
            bytes_moved: what must be read and written for it: the images once, the events once.
            alone: does the work once, for its peak memory beyond what is there before; None leaves that unmeasured.
            once: call it once and no more, for what takes long and starts from nothing.
            more: what else the row says of the case.
        """
        kind = torch.device(device).type
        rounds, iterations = (1, 1) if once else rounds_and_iterations(warm_up(call, kind), kind)
        benchmark.pedantic(call, rounds=rounds, iterations=iterations)
        if benchmark.stats is None:  # --benchmark-disable
            return
        measured = {
            "images": images,
            **figures(benchmark.stats.stats, per_call),
            "iterations": iterations * per_call,
            "bytes_moved": bytes_moved,
            "peak_memory": peak_memory(alone, kind) if alone else None,
            "threads": threads,
            **more,
        }
        request.config.stash[_ROWS].append(make_row(environment(device), suite, case, measured))

    return run
