"""The PyTorch operators and their implementation on the CPU."""
