"""A model that `reparam` does not have: what a folder in `reparam.recipes` must hold, no more."""
