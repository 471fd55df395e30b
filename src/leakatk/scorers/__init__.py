"""Core metrics: how much of the truth a single generation reveals. Importing this loads no model library."""

from leakatk.scorers.base import SCORERS, Priced, Scorer, get_scorer, score_texts
from leakatk.scorers.choice import Choice
from leakatk.scorers.entailment import Entailment
from leakatk.scorers.fact import Fact
from leakatk.scorers.judge import Judge
from leakatk.scorers.keys import Keys
from leakatk.scorers.knows import Knows, default_scorers, how, parts, parts_sentence, ways
from leakatk.scorers.meaning import Meaning
from leakatk.scorers.rouge import Rouge1, RougeL, rouge_1, rouge_l
from leakatk.scorers.similarity import Similarity
from leakatk.scorers.verbatim import Verbatim, VerbMem

__all__ = [
    "SCORERS",
    "Choice",
    "Entailment",
    "Fact",
    "Judge",
    "Keys",
    "Knows",
    "Meaning",
    "Priced",
    "Rouge1",
    "RougeL",
    "Scorer",
    "Similarity",
    "VerbMem",
    "Verbatim",
    "default_scorers",
    "get_scorer",
    "how",
    "parts",
    "parts_sentence",
    "rouge_1",
    "rouge_l",
    "score_texts",
    "ways",
]
