"""Core metrics: how much of the truth a single generation reveals. Importing this loads no model library."""

from leakatk.scorers.base import SCORERS, Scorer, get_scorer, score_texts
from leakatk.scorers.fact import Fact
from leakatk.scorers.keys import Keys
from leakatk.scorers.rouge import RougeL, rouge_l

__all__ = ["SCORERS", "Fact", "Keys", "RougeL", "Scorer", "get_scorer", "rouge_l", "score_texts"]
