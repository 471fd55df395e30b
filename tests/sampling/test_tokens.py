"""Prompts to token ids, and answers back to text."""

import pytest

from leakatk.errors import InputError
from leakatk.sampling.decoding import Decoding
from tests.sampling.checks import native_run
from tests.sampling.models import tiny


def test_too_long_for_learned_positions() -> None:
    with pytest.raises(InputError, match="256 positions"):
        native_run(tiny("gpt2"), Decoding(max_new_tokens=300))
