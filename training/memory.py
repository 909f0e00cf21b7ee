"""How PyTorch says that memory has run out."""

from __future__ import annotations

import torch


def ran_out(error: Exception) -> bool:
    """Whether this is what an error says; PyTorch's allocator for the CPU has no error of its own."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(error)
