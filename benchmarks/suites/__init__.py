"""The benchmarks; ``pytest benchmarks --benchmark-only`` runs them."""
