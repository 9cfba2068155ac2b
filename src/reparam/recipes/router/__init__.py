"""A mixture of experts whose router is trained by any estimator that serves it."""
