"""A judge on a test server, six items for it, and what it ought to say."""

from __future__ import annotations

from typing import Any

from leakatk.prompts import Prompt
from leakatk.scorers import Judge, get_scorer
from tests.scorers.conftest import JudgeServer

PROMPTS = [Prompt(f"p{i}", f"Who is number {i}?", f"Name{i}x") for i in range(6)]
TEXTS = [f"It is Name{i}x, I think." if i % 2 else "It is nobody." for i in range(6)]
TRUTH = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]


def judge(server: JudgeServer, **options: Any) -> Judge:
    options = {"items": 3, "backoff": 0.001, "timeout": 60.0, "price_in": 1.0, "price_out": 1.0, **options}
    scorer = get_scorer("judge", model="m", base_url=server.url, **options)
    assert isinstance(scorer, Judge)
    return scorer
