"""Races against other methods and against the hardware's limits."""
