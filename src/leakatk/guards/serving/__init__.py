"""Serving: a guarded model behind an OpenAI-compatible server."""
