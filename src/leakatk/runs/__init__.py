"""Run directories: what is on disk of samples, scores and results."""
