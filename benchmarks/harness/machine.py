"""The environment of a measurement: device, versions and commit."""

from __future__ import annotations

import datetime
import importlib
import os
import platform
import re
import shutil
import subprocess
from functools import cache
from importlib import util
from pathlib import Path

import torch

import i2e_triton

_ROOT = Path(__file__).resolve().parents[2]
# Files that a benchmark run writes. Changes to them do not count as uncommitted changes of the code.
_OUTPUTS = ("benchmarks/results", "benchmarks/plots", "benchmarks/REPORT.md")


def device_name(device: torch.device | str) -> str:
    """Return the product name of a GPU, or the model of the CPU and its number of cores."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cpu_model()}, {cores} core{'' if cores == 1 else 's'}"


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the model of the CPU, with its family and model numbers if a virtual machine hides the full name."""
    fields: dict[str, str] = {}
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
    model = fields.get("model name", platform.machine())
    if re.search(r"\d", model) or "cpu family" not in fields:
        return model
    return f"{model} (family {fields['cpu family']}, model {fields['model']})"


def slug(name: str) -> str:
    """Return a name in lower case, with hyphens between words, for use in file names."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def last_level_cache(device: torch.device | str) -> int:
    """Return the size of the largest cache of a device in bytes, or 64 MiB for a CPU that does not report it."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_properties(device).L2_cache_size
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    kibibytes = [int(text[:-1]) for text in (path.read_text().strip() for path in sizes) if text.endswith("K")]
    return max(kibibytes, default=64 * 1024) * 1024


def environment(device: torch.device | str) -> dict[str, str | float | None]:
    """Return the fields of a row that describe the machine. ``load`` is the load average of the last minute."""
    cuda = torch.device(device).type == "cuda"
    return {
        "device": device_name(device),
        "kind": torch.device(device).type,
        "cpu": device_name("cpu"),
        "driver": _run("nvidia-smi", "--id=0", "--query-gpu=driver_version", "--format=csv,noheader") if cuda else None,
        "torch": torch.__version__,
        "triton": importlib.import_module("triton").__version__ if util.find_spec("triton") else None,
        "i2e_triton": i2e_triton.__version__,
        "python": platform.python_version(),
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 2),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **commit(),
    }


def commit() -> dict[str, str | bool | None]:
    """Return the checked-out commit and whether files differ from it, or None for both outside of a repository."""
    head = _run("git", "rev-parse", "HEAD")
    changes = _run("git", "status", "--porcelain", "--", ".", *(f":(exclude){path}" for path in _OUTPUTS))
    return {"commit": head, "dirty": None if head is None else bool(changes)}


@cache
def _run(tool: str, *arguments: str) -> str | None:
    """Return the output of a command, or None if the command is not installed or fails."""
    if shutil.which(tool) is None:
        return None
    result = subprocess.run([tool, *arguments], cwd=_ROOT, capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else None
