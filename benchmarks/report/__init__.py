"""The report: tables and plots of the benchmark rows."""
