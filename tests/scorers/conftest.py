"""Real but tiny parts: a classifier and a sentence encoder saved to disk, and an HTTP server that judges."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

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


class JudgeServer:
    """Speaks the chat-completions protocol over real HTTP. Its verdict: 1 when the candidate contains the reference.

    faults: what to do with the first requests, in order of arrival; "" answers properly. items: candidates asked about.
    refuses: parameters answered with 400, as newer models do.
    """

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.items: list[str] = []
        self.refuses: set[str] = set()
        self.requests = 0
        self.lock = threading.Lock()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                rows = json.loads(asked["messages"][1]["content"])
                with server.lock:
                    fault = server.faults.pop(0) if server.faults else ""
                    if refused := sorted(server.refuses & set(asked)):
                        fault = f"refuses {refused[0]}"
                    server.requests += 1
                    server.items += [row["candidate"] for row in rows]
                answer(self, rows, fault)

            def log_message(self, *args: object) -> None:
                pass

        return Handler


def answer(http: BaseHTTPRequestHandler, rows: list[dict[str, str]], fault: str) -> None:
    if fault == "drop":
        http.close_connection = True
        http.connection.close()
        return
    if fault == "time-out":
        time.sleep(1.0)
    if fault.isdigit() or fault.startswith("refuses"):
        error = {"message": f"it\x1b[31m {fault}", "param": fault.removeprefix("refuses ")}
        body = json.dumps({"error": error}).encode()
        http.send_response(int(fault) if fault.isdigit() else 400)
        http.send_header("retry-after", "0")
        http.send_header("content-type", "application/json")
        http.send_header("content-length", str(len(body)))
        http.end_headers()
        http.wfile.write(body)
        return
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
    body = json.dumps(
        {
            "id": "1", "object": "chat.completion", "created": 0, "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": reply}}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
        }
    ).encode()  # fmt: skip
    body = body[: len(body) // 2] if fault == "truncated JSON" else body
    body = b'{"choices": []}' if fault == "no choices" else body
    try:
        http.send_response(200)
        http.send_header("content-type", "application/json")
        http.send_header("content-length", str(len(body)))
        http.end_headers()
        http.wfile.write(body)
    except OSError:
        pass  # The client of a time-out has gone.


@pytest.fixture
def judge_server() -> Iterator[JudgeServer]:
    server = JudgeServer()
    yield server
    server.close()
