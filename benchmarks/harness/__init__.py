"""Timing, machine description and workloads that all suites share."""
