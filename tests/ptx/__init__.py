"""A GPU in NumPy: the instructions (PTX) that Triton compiles kernels to, executed on the CPU.

It knows the instructions that the kernels of this project need; one that it does not know is an error, never a guess,
and so is arithmetic that a GPU's assembler might contract. What each means:
https://docs.nvidia.com/cuda/parallel-thread-execution/
"""
