"""Bench: the numbers of a benchmark for one model, as rows of a table that grows."""
