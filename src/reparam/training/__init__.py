"""Training: one readable loop, and what a run needs around it."""
