"""A classifier of images that closes what it does not need."""
