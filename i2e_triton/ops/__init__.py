"""The PyTorch operators and their CPU implementation."""
