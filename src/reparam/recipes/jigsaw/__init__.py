"""Jigsaw puzzles, solved by a relaxed permutation of their pieces."""
