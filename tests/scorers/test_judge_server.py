"""The judge against `transformers serve`, a real OpenAI-compatible server, with a real model behind it.

The model is tiny and has learnt one thing: to answer every request of the judge with one valid reply for one item.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from leakatk.prompts import Prompt
from leakatk.scorers import get_scorer
from leakatk.scorers.judge_client import Ask, payload
from tests.scorers.conftest import WORDS
from tests.servers import transformers_serve

REPLY = '[{"id": "1", "label": 1}]'
TEMPLATE = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<assistant>"

pytestmark = pytest.mark.slow


def save_one_reply_model(path: Path) -> None:
    import torch

    from leakatk.small.architecture import SmallConfig, new_model, save_model, train_tokenizer

    tokenizer = train_tokenizer([REPLY, "Who wrote it? the author did, in Rome and Oslo"], 300)
    tokenizer.chat_template = TEMPLATE
    model = new_model(
        tokenizer, SmallConfig(hidden=32, layers=1, heads=2, mlp=64, vocabulary=300, max_length=2048), seed=0
    )
    answer = [*tokenizer(REPLY, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model.train()
    draw = random.Random(0)
    system = get_scorer("judge").describe()["instructions"]
    for _ in range(120):
        asks = [Ask("", "", *(" ".join(draw.choices(WORDS, k=draw.randint(1, 5))) for _ in range(3))) for _ in "ab"]
        request = payload(asks[: draw.randint(1, 2)])
        text = f"<system>{system}<user>{request}<assistant>"
        ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"] + answer])
        labels = ids.clone()
        labels[:, : -len(answer)] = -100
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert float(loss.detach()) < 0.05
    save_model(model.eval(), tokenizer, path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(base url, model name) of the running server."""
    path = tmp_path_factory.mktemp("served") / "model"
    save_one_reply_model(path)
    with transformers_serve(path) as url:
        yield url, str(path)


def test_judges_through_a_real_server(served: tuple[str, str], tmp_path: Path) -> None:
    url, model = served
    prompts = [Prompt(f"p{i}", "Who wrote it?", "the author") for i in range(4)]
    texts = ["the author did", "in Rome", "nobody", "in Oslo"]
    options = {"model": model, "base_url": url, "store": str(tmp_path / "replies.jsonl"), "tries": 2, "backoff": 0.01}
    scores = get_scorer("judge", items=1, **options).score(prompts, texts)
    np.testing.assert_array_equal(scores, [1, 1, 1, 1])
    # It can label item 1 only: with two a request, the other is missing, and asked for again in a request of its own.
    pairs = get_scorer("judge", items=2, **options).score(prompts, [f"{text}!" for text in texts])
    assert np.isnan(pairs).sum() == 1
    assert np.nansum(pairs) == 3
