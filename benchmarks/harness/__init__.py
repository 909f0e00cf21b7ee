"""Code that all suites share: timing, description of the machine, result rows and workloads."""
