"""The fused Triton kernels. This package imports torch and triton, and nothing of i2e_triton."""

import triton

if tuple(int(part) for part in triton.__version__.split(".")[:2]) < (3, 6):
    raise ImportError(
        f"the kernels need Triton 3.6 or newer, found {triton.__version__}: "
        "pip install --upgrade torch, or convert on the CPU"
    )

from .launch import convert_into, unpack_into  # with an older Triton, this import fails with an unclear error

__all__ = ["convert_into", "unpack_into"]
