"""Inspect without a network: its estimate of tokens fetches an encoding, which no number here needs."""

from contextlib import contextmanager
from unittest import mock


class _Words:
    def encode(self, text, **how):
        return text.split()


@contextmanager
def offline():
    with mock.patch("tiktoken.get_encoding", return_value=_Words()):
        yield
