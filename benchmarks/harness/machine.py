"""What a measurement ran on: devices by name, versions, and the commit."""

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
#: What a benchmark run itself writes says nothing of the code that ran.
_WRITTEN = ("benchmarks/results", "benchmarks/plots", "benchmarks/REPORT.md")


def device_name(device: torch.device | str) -> str:
    """Name a device by its model: a GPU's product name, or the CPU's and how many cores there are."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cpu_model()}, {cores} core{'' if cores == 1 else 's'}"


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The CPU's model as Linux tells it; a virtual machine may tell a maker and a family and no more."""
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
    """A device's name as a file name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def last_level_cache(device: torch.device | str) -> int:
    """Bytes of a device's largest cache; 64 MiB where a CPU does not tell."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_properties(device).L2_cache_size
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    kibibytes = [int(text[:-1]) for text in (path.read_text().strip() for path in sizes) if text.endswith("K")]
    return max(kibibytes, default=64 * 1024) * 1024


def environment(device: torch.device | str) -> dict[str, str | float | None]:
    """What a row says of where and when it was measured; the load is of the last minute, 1 for a busy core."""
    cuda = torch.device(device).type == "cuda"
    return {
        "device": device_name(device),
        "kind": torch.device(device).type,
        "cpu": device_name("cpu"),
        "driver": driver() if cuda else None,
        "torch": torch.__version__,
        "triton": importlib.import_module("triton").__version__ if util.find_spec("triton") else None,
        "i2e_triton": i2e_triton.__version__,
        "python": platform.python_version(),
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 2),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **commit(),
    }


@cache
def driver() -> str | None:
    """Version of NVIDIA's driver, None where it cannot be asked."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    command = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    answer = subprocess.run(command, capture_output=True, text=True)
    return answer.stdout.splitlines()[0].strip() if answer.returncode == 0 and answer.stdout else None


@cache
def commit() -> dict[str, str | bool | None]:
    """The commit that runs and whether files differ from it; None where there is no repository."""
    head = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", ".", *(f":(exclude){path}" for path in _WRITTEN))
    return {"commit": head, "dirty": None if head is None else bool(changes)}


def _git(*arguments: str) -> str | None:
    if shutil.which("git") is None:
        return None
    answer = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True)
    return answer.stdout.strip() if answer.returncode == 0 else None
