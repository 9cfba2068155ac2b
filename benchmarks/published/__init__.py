"""Published figures, recomputed with the library's estimators: `python -m benchmarks.published`."""
