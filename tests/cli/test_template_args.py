"""--template-arg: what the model's own chat template reads, in every command that asks a model; for servers in the request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from leakatk.models.load import ModelSource
from leakatk.models.template import Template
from leakatk.prompts import Query, save_prompts
from leakatk.runs.store import Run
from tests.servers import WordServer
from tests.tiny import PROMPTS, save_tiny_model

TEMPLATE = (
    "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    "{% if enable_thinking is not defined or enable_thinking %}<think>{% else %}<think></think>{% endif %}"
    "{% if words is defined %}{{ words | join(' ') }}{% endif %}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = save_tiny_model(tmp_path_factory.mktemp("args") / "model")
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def forget(tmp_path: Path) -> Path:
    save_prompts(PROMPTS, tmp_path / "forget.jsonl")
    return tmp_path / "forget.jsonl"


def test_the_template_reads_them(model: Path) -> None:
    tokenizer = ModelSource(str(model)).tokenizer()

    def prompt(*args: tuple[str, Any]) -> str:
        return tokenizer.decode(Template(args=args).prompt_ids(tokenizer, Query("Who?")))

    assert prompt().endswith("<think>")
    assert prompt(("enable_thinking", False)).endswith("<think></think>")
    assert prompt(("words", ["a", "b"])).endswith("a b")


def test_a_template_without_arguments_is_what_it_was(model: Path) -> None:
    """Manifests of before must compare equal, and places of cells must stay."""
    plain = Template()
    assert repr(plain) == (
        "Template(kind='auto', system='', plain='Question: {question}\\nAnswer:', date='10 Apr 2025', as_text=False)"
    )
    assert "args" in repr(Template(args=(("a", 1),)))
    tokenizer = ModelSource(str(model)).tokenizer()
    assert "args" not in plain.describe(tokenizer)
    assert Template(args=(("words", ["a"]),)).describe(tokenizer)["args"] == {"words": ["a"]}


def test_audit(leakatk: Any, model: Path, forget: Path, tmp_path: Path) -> None:
    command = ["audit", model, "--forget", forget, "--n", 2, "--max-new-tokens", 4, "--quiet", "--one-wording"]
    code, _, err = leakatk(*command, "--out", tmp_path / "off", "--template-arg", "enable_thinking=false")
    assert code == 0, err
    run = Run.open(tmp_path / "off")
    assert run.manifest.model["template"]["args"] == {"enable_thinking": False}
    assert run.manifest.model["template"]["example"].endswith("<think></think>")
    assert not any(any(row) for row in run.reasonings())
    code, _, err = leakatk(*command, "--out", tmp_path / "on")
    assert code == 0, err
    on = Run.open(tmp_path / "on")
    assert "args" not in on.manifest.model["template"]
    assert any(any(row) for row in on.reasonings()), "the template opens a thought"
    assert not any(any(row) for row in on.texts()), "which no answer of this model closes"
    code, _, err = leakatk(*command, "--out", tmp_path / "on", "--template-arg", "enable_thinking=false")
    assert code == 2
    assert "model.template.args" in err
    assert 'template-arg = ["enable_thinking=false"]' in (tmp_path / "off" / "config.toml").read_text()


@pytest.mark.parametrize("command", ["audit", "unlearn", "bench"])
def test_a_misspelt_argument_is_named(command: str, leakatk: Any, model: Path, forget: Path, tmp_path: Path) -> None:
    told = {
        "audit": ["audit", model, "--forget", forget, "--n", 2],
        "unlearn": ["unlearn", model, "--forget", forget, "--method", "ga", "--steps", 1],
        "bench": ["bench", forget, "--model", model, "--n", 2],
    }[command]
    code, _, err = leakatk(*told, "--out", tmp_path / "out", "--template-arg", "enable_thinkng=false")
    assert code == 2
    assert "knows no argument enable_thinkng" in err
    code, _, err = leakatk(*told, "--out", tmp_path / "out", "--template-arg", "enable_thinkng=false", "--dry-run")
    assert (code, "knows no argument enable_thinkng" in err) == (2, True), "as soon as the model is there"
    if command != "bench":
        code, _, err = leakatk(*told, "--out", tmp_path / "out", "--template", "plain", "--template-arg", "a=1")
        assert code == 2
        assert "--template plain uses none" in err


def test_the_dry_run_of_a_bench_asks_with_them(leakatk: Any, model: Path, forget: Path, tmp_path: Path) -> None:
    command = ["bench", forget, "--model", model, "--out", tmp_path / "out", "--n", 2, "--dry-run", "--json"]
    tokens = []
    for more in ([], ["--template-arg", 'words=["w1", "w2", "w3"]']):
        code, out, err = leakatk(*command, *more)
        assert code == 0, err
        tokens.append(json.loads(out)["forced"]["tokens"])
    assert tokens[0] < tokens[1]


def test_unlearn_trains_on_that_prompt(leakatk: Any, model: Path, forget: Path, tmp_path: Path) -> None:
    code, _, err = leakatk(
        "unlearn", model, "--forget", forget, "--method", "ga", "--steps", 1, "--out", tmp_path / "out", "--quiet",
        "--template-arg", "enable_thinking=false",
    )  # fmt: skip
    assert code == 0, err
    assert "--template-arg enable_thinking=false" in err, "the audit that it proposes asks in the same way"
    kept = (tmp_path / "out" / "unlearning.json").read_text()
    assert json.loads(kept)["template"]["args"] == {"enable_thinking": False}


def test_a_server_is_sent_them(leakatk: Any, forget: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    server = WordServer("temperature", "seed")
    try:
        command = ["audit", "words", "--url", server.url, "--forget", forget, "--n", 2, "--quiet", "--one-wording"]
        code, _, err = leakatk(*command, "--out", tmp_path / "off", "--template-arg", "enable_thinking=false")
        assert code == 0, err
        assert all(asked["chat_template_kwargs"] == {"enable_thinking": False} for asked in server.asked)
        assert Run.open(tmp_path / "off").manifest.model["template"]["args"] == {"enable_thinking": False}
        server.asked.clear()
        assert leakatk(*command, "--out", tmp_path / "on")[0] == 0
        assert not any("chat_template_kwargs" in asked for asked in server.asked)
        assert "args" not in Run.open(tmp_path / "on").manifest.model["template"]
    finally:
        server.close()
