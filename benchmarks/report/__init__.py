"""The report: rows of results to tables and plots."""
