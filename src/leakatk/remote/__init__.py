"""Servers: the client that judges and deployed models are asked with."""
