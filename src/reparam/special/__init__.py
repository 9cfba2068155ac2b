"""Special functions that torch lacks, or gives too few digits of."""
