"""Models: loading, templates, weights, hooks."""
