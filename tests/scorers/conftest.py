"""Real but tiny parts: a classifier and a sentence encoder saved to disk, and an HTTP server that judges."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import FaultyServer

WORDS = [
    "the",
    "author",
    "was",
    "born",
    "in",
    "paris",
    "rome",
    "on",
    "a",
    "farm",
    "yes",
    "no",
    "and",
    "her",
    "name",
    "is",
    "ada",
    "hugo",
]


def tiny_bert(directory: Path, kind: str, **config: Any) -> None:
    """Save a random BERT and a word tokenizer; the wide initialisation makes it decide differently on different texts."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    torch.manual_seed(1)
    settings = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, initializer_range=1.0, **config,
    )  # fmt: skip
    model = BertForSequenceClassification(settings) if kind == "classifier" else BertModel(settings)
    model.save_pretrained(directory)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names).save_pretrained(directory)


@pytest.fixture(scope="session")
def nli_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("nli")
    tiny_bert(directory, "classifier", id2label={0: "neutral", 1: "ENTAILMENT", 2: "contradiction"})
    return str(directory)


@pytest.fixture(scope="session")
def encoder_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("encoder")
    tiny_bert(directory, "encoder")
    return str(directory)


class JudgeServer(FaultyServer):
    """Judges over real HTTP: 1 when the candidate contains the reference. items: candidates asked about."""

    def __init__(self) -> None:
        self.items: list[str] = []
        super().__init__()

    def seen(self, asked: dict[str, Any]) -> None:
        self.items += [row["candidate"] for row in json.loads(asked["messages"][1]["content"])]

    def reply(self, path: str, asked: dict[str, Any], fault: str) -> dict[str, Any]:
        rows = json.loads(asked["messages"][1]["content"])
        labels: Any = [{"id": row["id"], "label": int(row["reference"] in row["candidate"])} for row in rows]
        if fault == "short list":
            labels = labels[:-1]
        if fault == "wrong order":
            labels.reverse()
        if fault == "unlabelled list":
            labels = [row["label"] for row in labels]
        if fault == "labels out of range":
            labels = [{**row, "label": 7} for row in labels]
        reply = json.dumps(labels)
        reply = {
            "truncated reply": reply[: len(reply) // 2],
            "prose": "I cannot help.",
            "fenced": f"```json\n{reply}\n```",
        }.get(fault, reply)
        return {
            "id": "1", "object": "chat.completion", "created": 0, "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": reply}}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
        }  # fmt: skip


@pytest.fixture
def judge_server() -> Iterator[JudgeServer]:
    server = JudgeServer()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
