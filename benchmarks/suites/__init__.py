"""The benchmarks. Each case compares its events with the reference implementation before it is measured."""
