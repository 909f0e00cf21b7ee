"""Lower bounds on time, from bytes and compiled instructions."""
