"""Lower bounds on the time of a conversion on a GPU, from its bytes and its compiled instructions."""
