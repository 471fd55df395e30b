"""A mark for tests that need bitsandbytes."""

from importlib.util import find_spec

import pytest

needs_bitsandbytes = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed: pip install --no-deps bitsandbytes"
)
