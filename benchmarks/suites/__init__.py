"""The benchmarks. Each case checks its events against the reference implementation before it is measured."""
