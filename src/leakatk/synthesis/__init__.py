"""Writers: text that a data method trains on.

from leakatk.synthesis import written

made = written("corruption:context=2", prompts, known)     # made.rows, made.left_out
"""

from leakatk.synthesis.agents import AgentRequests
from leakatk.synthesis.anti_samples import AntiSamples
from leakatk.synthesis.base import WRITERS, Writer, Written, get_writer, writer, written
from leakatk.synthesis.generated import Alternates
from leakatk.synthesis.harmless import Harmless
from leakatk.synthesis.inverted import Inverted
from leakatk.synthesis.rewriting import Rewrite, reworded
from leakatk.synthesis.select import pairs, usable
from leakatk.synthesis.templates import Corruption
from leakatk.synthesis.textbook import Textbook, retold
from leakatk.synthesis.topics import Topic
from leakatk.synthesis.triplets import Triplets
from leakatk.synthesis.wordings import Apart, Triggers, reasked

__all__ = [
    "WRITERS",
    "AgentRequests",
    "Alternates",
    "AntiSamples",
    "Apart",
    "Corruption",
    "Harmless",
    "Inverted",
    "Rewrite",
    "Textbook",
    "Topic",
    "Triggers",
    "Triplets",
    "Writer",
    "Written",
    "get_writer",
    "pairs",
    "reasked",
    "retold",
    "reworded",
    "usable",
    "writer",
    "written",
]
