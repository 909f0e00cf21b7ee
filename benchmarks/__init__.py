"""Benchmarks: ``pytest benchmarks --benchmark-only`` measures, ``python -m benchmarks.report`` writes the report."""
