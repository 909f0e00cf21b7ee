"""A GPU in NumPy: the instructions (PTX) that Triton compiles kernels to, executed on the CPU.

It knows the instructions that the kernels of this project need; one that it does not know is an error, never a guess,
and so is arithmetic that the instructions themselves let a GPU contract. What its assembler contracts in spite of them
is seen in machine code alone (tests/kernels/test_compile.py). What each instruction means:
https://docs.nvidia.com/cuda/parallel-thread-execution/
"""
