"""A GPU simulator in NumPy: it executes the PTX instructions that Triton compiles kernels to, on the CPU.

It implements only the instructions that the kernels of this project use; other instructions are an error. Arithmetic
without ``.rn``, which ptxas may fuse, is also an error. What ptxas fuses in spite of ``.rn`` shows only in the machine
code (tests/kernels/test_compile.py). Reference: https://docs.nvidia.com/cuda/parallel-thread-execution/
"""
