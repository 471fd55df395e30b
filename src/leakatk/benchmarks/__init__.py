"""Benchmarks: what is to be forgotten and what is to be kept, as prompts."""
