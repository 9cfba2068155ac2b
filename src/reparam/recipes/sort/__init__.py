"""Sorting images of numbers, by a relaxed permutation of their scores."""
