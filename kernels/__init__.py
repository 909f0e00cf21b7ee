"""The fused Triton kernels. Nothing here but torch and triton."""
