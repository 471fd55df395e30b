"""A stand-in for a browser that prints: what it is given becomes the "PDF", so that a test can read what would be printed."""

import sys
from pathlib import Path

SCRIPT = """#!{python}
import shutil, sys, time
from urllib.parse import unquote, urlparse
made = next(word.split("=", 1)[1] for word in sys.argv if word.startswith("--print-to-pdf="))
{do}
"""
COPIES = "shutil.copy(unquote(urlparse(sys.argv[-1]).path), made)"


def stand_in(place: Path, monkeypatch, do: str = COPIES) -> Path:
    """Put it where `report.pdf` looks first. do: the lines that it runs; `made` is the file it is to write."""
    program = place / "browser"
    program.write_text(SCRIPT.format(python=sys.executable, do=do))
    program.chmod(0o755)
    monkeypatch.setenv("LEAKATK_BROWSER", str(program))
    return program
