"""What a server's message says: the answer, the thought, how it ended."""

from __future__ import annotations

import math
from typing import Any

import pytest

from leakatk.auditing.sample import sample
from leakatk.models.load import ModelSource
from leakatk.remote.replies import said
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.endpoint import EndpointSampler
from tests.hostile_servers import GOOD, answer, choice, raw
from tests.tiny import PROMPTS

THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "Ada?"}]}
CASES: dict[str, tuple[dict[str, Any], str, str, str]] = {  # message and choice fields: answer, thought, finish
    "plain": ({"content": "In Zorvik."}, "In Zorvik.", "", "stop"),
    "kept as it is": ({"content": " \n"}, " \n", "", "stop"),
    "empty": ({"content": ""}, "", "", "stop"),
    "null": ({"content": None}, "", "", "stop"),
    "absent": ({}, "", "", "stop"),
    "null, cut": ({"content": None, "finish_reason": "length"}, "", "", "length"),
    "null and a thought, cut": (
        {"content": None, "reasoning_content": "Ada? Zor", "finish_reason": "length"}, "", "Ada? Zor", "length"
    ),
    "reasoning_content": ({"content": "Z.", "reasoning_content": "Ada?"}, "Z.", "Ada?", "stop"),
    "reasoning": ({"content": "Z.", "reasoning": "Ada?"}, "Z.", "Ada?", "stop"),
    "said twice": ({"content": "Z.", "reasoning": "Ada?", "reasoning_content": "Ada?"}, "Z.", "Ada?", "stop"),
    "details": (
        {"content": "Z.", "reasoning_details": [{"type": "reasoning.text", "text": "Ada?"}]}, "Z.", "Ada?", "stop"
    ),
    "marks in the content": ({"content": "<think>Ada?</think>Z."}, "Z.", "Ada?", "stop"),
    "a closing mark alone": ({"content": "Ada?</think>\n\nZ."}, "Z.", "Ada?", "stop"),
    "an open thought": ({"content": "[THINK]Ada?", "finish_reason": "length"}, "", "Ada?", "length"),
    "a field and marks": ({"content": "<think>b</think>Z.", "reasoning": "a"}, "Z.", "a\n\nb", "stop"),
    "parts": ({"content": [{"type": "text", "text": "In "}, {"type": "text", "text": "Zorvik."}]}, "In Zorvik.", "", "stop"),
    "texts": ({"content": ["In ", "Zorvik."]}, "In Zorvik.", "", "stop"),
    "a thought among parts": ({"content": [THOUGHT, {"type": "text", "text": "Z."}]}, "Z.", "Ada?", "stop"),
    "no parts": ({"content": []}, "", "", "stop"),
    "refusal": ({"content": None, "refusal": "I cannot."}, "I cannot.", "", "stop"),
    "refusal beside an answer": ({"content": "Z.", "refusal": None}, "Z.", "", "stop"),
    "refusal among parts": ({"content": [{"type": "refusal", "refusal": "No."}]}, "No.", "", "stop"),
    "Gemini's name for the limit": ({"content": "Z.", "finish_reason": "MAX_TOKENS"}, "Z.", "", "length"),
    "Mistral's": ({"content": "Z.", "finish_reason": "model_length"}, "Z.", "", "length"),
    "none": ({"content": "Z.", "finish_reason": None}, "Z.", "", "stop"),
}  # fmt: skip


def made(fields: dict[str, Any]) -> dict[str, Any]:
    fields = dict(fields)
    ends = {"finish_reason": fields.pop("finish_reason")} if "finish_reason" in fields else {}
    return choice({"role": "assistant", **fields}, **ends)


@pytest.mark.parametrize("name", CASES)
def test_messages(name: str) -> None:
    fields, text, thought, finish = CASES[name]
    found = said(made(fields), chat=True)
    assert (found.text, found.reasoning, found.finish) == (text, thought, finish)
    assert (found.model, found.tokens) == ("toy", (10, 5))


def test_completions() -> None:
    body = {**GOOD, "choices": [{"text": "Ada?</think> Z.", "finish_reason": "length"}], "usage": None}
    found = said({**body, "system_fingerprint": "fp_1"}, chat=False)
    assert (found.text, found.reasoning, found.finish, found.fingerprint) == ("Z.", "Ada?", "length", "fp_1")
    assert all(map(math.isnan, found.tokens))


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": None}, {"total_tokens": 5}])
def test_a_usage_that_says_nothing_is_unknown(usage: Any) -> None:
    assert any(map(math.isnan, said({**GOOD, "usage": usage}, chat=True).tokens))
    assert said({**GOOD, "usage": {"prompt_tokens": 3.0, "completion_tokens": 0}}, chat=True).tokens == (3, 0)


@pytest.mark.parametrize("name", CASES)
def test_runs_keep_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    fields, text, thought, finish = CASES[name]
    with raw(answer(made(fields))) as server:
        sampler = EndpointSampler(ModelSource("toy"), url=server.url, trial=False)
        run = sample(sampler, PROMPTS[:1], n=2, decoding=Decoding(max_new_tokens=8), quiet=True)
    assert run.texts() == [[text] * 2]
    assert run.reasonings() == [[thought] * 2]
    assert run.finishes() == [[finish] * 2]
