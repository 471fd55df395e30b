"""How a model is asked in a bench."""

from types import SimpleNamespace

import pytest

from leakatk.bench.bench import asked_as
from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.protocols import PROTOCOLS
from leakatk.benchmarks.worlds.people import make_world
from leakatk.errors import ModelError
from leakatk.models.loaded import LoadedModel
from leakatk.models.template import Template
from leakatk.scorers.choice import choice_prompt

WORLD = make_world(0, forget=2, retain=2, retain_held=0, holdout=2, world_facts=4, pretraining=100)


def test_how_a_benchmark_is_asked():
    """A chat model is asked multiple choice in the harness's plain prompt, questions in its own template; one can choose."""
    chat = LoadedModel(None, SimpleNamespace(chat_template="{{ messages }}"), Template(), "chat", "")
    base = LoadedModel(None, SimpleNamespace(chat_template=None), Template(), "base", "")
    choices = Benchmark("c", (choice_prompt("q", "Which?", ["x", "y"], 1),), templates={"forget": "Head: {question}"})
    questions = Benchmark("q", WORLD.forget, templates={"forget": "Head: {question}"})
    rules = PROTOCOLS["clean"]
    kinds = {
        (name, bench.name, template): asked_as(loaded, bench, rules, "forget", template).template.kind
        for name, loaded in (("chat", chat), ("base", base))
        for bench in (choices, questions)
        for template in ("auto", "plain")
    }
    assert kinds == {
        ("chat", "c", "auto"): "plain", ("chat", "c", "plain"): "plain", ("chat", "q", "auto"): "auto",
        ("chat", "q", "plain"): "plain", ("base", "c", "auto"): "plain", ("base", "c", "plain"): "plain",
        ("base", "q", "auto"): "plain", ("base", "q", "plain"): "plain",
    }  # fmt: skip
    assert asked_as(chat, choices, rules, "forget", "chat").template.kind == "auto"
    with pytest.raises(ModelError, match="no chat template"):
        asked_as(base, choices, rules, "forget", "chat")
