"""Rehearsal: what a model says by itself, found so that it can be kept."""
