"""The report: tables and plots made from the rows of results."""
