"""Benchmarks. ``pytest benchmarks --benchmark-only`` runs them; ``python -m benchmarks.report`` writes the report."""
