"""Writers: text that a data method trains on.

from leakatk.synthesis import written

made = written("corruption:context=2", prompts, known)     # made.rows, made.left_out
"""

from leakatk.synthesis.base import WRITERS, Writer, Written, get_writer, writer, written
from leakatk.synthesis.generated import Alternates
from leakatk.synthesis.rewriting import Rewrite, reworded
from leakatk.synthesis.select import pairs, usable
from leakatk.synthesis.templates import Corruption

__all__ = [
    "WRITERS",
    "Alternates",
    "Corruption",
    "Rewrite",
    "Writer",
    "Written",
    "get_writer",
    "pairs",
    "reworded",
    "usable",
    "writer",
    "written",
]
