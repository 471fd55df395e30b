"""Core metrics: how much of the truth a single generation reveals. None of this imports torch."""

from leakatk.scorers.base import SCORERS, Scorer, get_scorer, score_texts
from leakatk.scorers.rouge import RougeL, rouge_l

__all__ = ["SCORERS", "RougeL", "Scorer", "get_scorer", "rouge_l", "score_texts"]
