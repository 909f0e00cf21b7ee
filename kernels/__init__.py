"""The fused Triton kernels. They import torch and triton, and nothing of this package."""

from .launch import convert_into

__all__ = ["convert_into"]
