"""Sampling engines: prompts + Decoding -> generations."""
