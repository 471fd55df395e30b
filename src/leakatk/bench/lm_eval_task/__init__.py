"""Task for lm-eval: `PLACE` is the directory for its --include_path."""

from pathlib import Path

PLACE = Path(__file__).parent
