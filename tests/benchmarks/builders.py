"""Functions that make benchmark rows for tests."""

from __future__ import annotations

from typing import Any

from benchmarks.harness.rows import Row

CPU, GPU = "Test CPU, 2 cores", "Test GPU 9000"


def row(suite: str, case: dict[str, Any], seconds: float, *, device: str = CPU, images: int = 1, **more: Any) -> Row:
    """Return a row with a median time of ``seconds``; ``more`` replaces or adds fields."""
    return {
        "suite": suite,
        "case": case,
        "images": images,
        "median_s": seconds,
        "iqr_s": seconds / 10,
        "rounds": 7,
        "bytes_moved": 1000,
        "peak_memory": None,
        "device": device,
        "kind": "cuda" if device == GPU else "cpu",
        "cpu": CPU,
        "driver": "575.1" if device == GPU else None,
        "torch": "2.99.0",
        "triton": "3.99.0",
        "i2e_triton": "0.1.0",
        "python": "3.12.1",
        "os": "Linux",
        "load": 0.5,
        "date": "2026-01-02T03:04:05+00:00",
        "commit": "0123456789abcdef",
        "dirty": False,
        **more,
    }


def comparison(method: str, input: str, format: str | None, seconds: float, device: str = CPU, **more: Any) -> Row:
    """Return a row of the suite "comparison": 32 photographs and 90 MB of peak memory."""
    case = {"method": method, "input": input, "format": format, "content": "photographs", "batch": 32, "size": 224}
    more = {"bytes_moved": 10**8, "peak_memory": 9 * 10**7, **more}
    return row("comparison", case, seconds, device=device, images=32, **more)
