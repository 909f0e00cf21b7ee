"""A GPU in NumPy: the instructions (PTX) that Triton compiles kernels to, executed on the CPU.

It implements the instructions that the kernels of this project use. An unknown instruction is an error, and so is
arithmetic that PTX allows to be fused (without ``.rn``). What ptxas fuses in spite of ``.rn`` is visible in the machine
code only (tests/kernels/test_compile.py). Reference: https://docs.nvidia.com/cuda/parallel-thread-execution/
"""
